// The rules that keep rooms apart and pure files pure. Each takes files and returns what breaks it.

import { posix } from 'node:path';
import type { Import, SourceFile } from './source-file.ts';
import { codeLines, importsOf, isTesting, workspaceOf } from './source-file.ts';

export interface Room {
  /** Rooms whose files this one may import. */
  imports: readonly string[];
  /** Files or folders of this room that only `compose.ts` of an app and tests may name. */
  adapters?: readonly string[];
  /** All of its doors that shipped code may use; the others are for tests and measurements. */
  shippedDoors?: readonly string[];
  /** Of these rooms only the listed files. */
  importsOnly?: Readonly<Record<string, readonly string[]>>;
  /** No file of the room has effects. */
  pure?: true;
}

export type Rooms = Readonly<Record<string, Room>>;

/** What each `package.json` names as dependency, by workspace folder. */
export type Dependencies = Readonly<Record<string, readonly string[]>>;

/** Which of its files each package lets others import, by workspace folder: `raw.ts`, `testing/*`. */
export type Doors = Readonly<Record<string, readonly string[]>>;

const PURE_FILE = /(^|\/)(plan|machine|codec|[^/]+-codec)\.ts$/;
const EFFECT_MODULE =
  /^node:(fs|net|tls|dgram|dns|child_process|cluster|http|https|http2|timers|worker_threads)(\/|$)/;
const EFFECT =
  /\b(Date\.now|new Date\(\s*\)|Math\.random|performance\.now|process\.|setTimeout|setInterval|setImmediate|fetch\()/;
const CLOCK_OR_RANDOM =
  /\b(Date\.now|new Date\(\s*\)|Math\.random|randomBytes|randomUUID|randomInt|randomFill(?:Sync)?|getRandomValues)\b|new Date\(\s*\)/;
const CLOCK_OR_RANDOM_FILE = /^packages\/base\/(clock|random)\.ts$|^apps\/.*\/compose\.ts$/;
const STARTS_PROGRAMS = /from 'node:child_process'/;
const EMPTY_NAME = /(^|\/)([^/]*-)?(utils?|helpers?|common|misc)(\.[^/]*)?(\/|$)/;

/** The table: which room may import which, and which files of it. */
export function breaksOfTable(files: readonly SourceFile[], rooms: Rooms): string[] {
  return shippedImports(files).flatMap(({ file, imported }) => {
    const target = workspaceTarget(imported.specifier);
    if (target === undefined) return [];
    const reason = reasonAgainst(file.path, target, rooms);
    return reason === undefined ? [] : [at(file, imported.line, reason)];
  });
}

function reasonAgainst(path: string, target: Target, rooms: Rooms): string | undefined {
  const [kind, name] = workspaceOf(path).split('/') as [string, string];
  if (target.room === name) return 'a file of the own package is imported by a relative path';
  const targetRoom = rooms[target.room];
  if (targetRoom === undefined) return `'${target.room}' is no room; apps are never imported`;
  if (targetRoom.shippedDoors?.includes(target.file) === false) {
    return `${target.file} of ${target.room} is for tests`;
  }
  if (kind === 'apps') return appReason(path, name, target, targetRoom);
  const room = rooms[name];
  if (room === undefined) return `'${name}' is not in the import table`;
  if (!room.imports.includes(target.room)) return `${name} may not import ${target.room}`;
  const only = room.importsOnly?.[target.room];
  if (only !== undefined && !only.includes(target.file)) {
    return `${name} may import only ${only.join(', ')} of ${target.room}`;
  }
  return namesAdapter(target, targetRoom) ? `${name} may not name an adapter` : undefined;
}

function appReason(path: string, app: string, target: Target, room: Room): string | undefined {
  if (app === 'portal' && target.room !== 'api') return 'portal imports api only';
  if (path.endsWith('/compose.ts') || !namesAdapter(target, room)) return undefined;
  return 'only compose.ts of an app names an adapter';
}

/** A room's entry counts as an adapter where the room has some: it may export them. */
function namesAdapter(target: Target, room: Room): boolean {
  if (room.adapters === undefined) return false;
  return target.file === 'index.ts' || room.adapters.some((name) => isIn(target.file, name));
}

function isIn(file: string, adapter: string): boolean {
  return file === `${adapter}.ts` || file.startsWith(`${adapter}/`);
}

/** Effects belong to steps and adapters; plans, machines, codecs and pure rooms only compute. */
export function breaksOfPurity(files: readonly SourceFile[], rooms: Rooms): string[] {
  return shipped(files)
    .filter((file) => PURE_FILE.test(file.path) || isPureRoom(file.path, rooms))
    .flatMap((file) => [
      ...importsOf(file)
        .filter((imported) => EFFECT_MODULE.test(imported.specifier))
        .map(({ line, specifier }) => at(file, line, `a pure file may not import ${specifier}`)),
      ...matches(file, EFFECT, 'a pure file may not use'),
    ]);
}

function isPureRoom(path: string, rooms: Rooms): boolean {
  const [kind, name] = path.split('/');
  return kind === 'packages' && name !== undefined && rooms[name]?.pure === true;
}

/** Time and randomness are parameters, or simulation by seed would not repeat. */
export function breaksOfDeterminism(files: readonly SourceFile[]): string[] {
  return shipped(files)
    .filter((file) => !CLOCK_OR_RANDOM_FILE.test(file.path))
    .flatMap((file) => matches(file, CLOCK_OR_RANDOM, 'time and randomness are parameters, not'));
}

/** Programs that rooms start are those of others, which inherit nothing that only we may know. */
export function breaksOfEnvironment(files: readonly SourceFile[]): string[] {
  return shipped(files)
    .filter(({ path, text }) => path.startsWith('packages/') && STARTS_PROGRAMS.test(text))
    .filter(({ text }) => !/\benv: toolEnvironment\(/.test(text))
    .map((file) => at(file, 1, 'a program that is started gets toolEnvironment()'));
}

export function breaksOfNames(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => {
    const found: string[] = [];
    if (EMPTY_NAME.test(file.path)) found.push(at(file, 1, 'the name says nothing'));
    if (file.path.endsWith('/index.ts') && file.path !== `${workspaceOf(file.path)}/index.ts`) {
      found.push(at(file, 1, "index.ts is only a package's own entry"));
    }
    return found;
  });
}

/** What a test starts by importing it: servers, guests and their daemons. */
const STARTER = /(^|\/)(s3-server|azurite-server|libvirt-site|booted-guest)\.ts$/;

/** Beside the code, the name of a test says when it is not fast. */
export function breaksOfLayers(files: readonly SourceFile[]): string[] {
  return allImports(files)
    .filter(({ file }) => /(?<!\.live|\.night)\.test\.ts$/.test(file.path))
    .filter(({ imported }) => STARTER.test(imported.specifier))
    .map(({ file, imported }) => at(file, imported.line, 'what starts servers is a .live.test.ts'));
}

/** On a busy machine, all takes longer: a test that measures itself fails there. */
export function breaksOfTestTime(files: readonly SourceFile[]): string[] {
  return files
    .filter(({ path }) => path.endsWith('.test.ts'))
    .flatMap((file) =>
      codeLines(file).flatMap((code, index) =>
        /\b(Date|performance|systemClock)\.now\(\) - \w+ </.test(code)
          ? [at(file, index + 1, 'a test is decided by time')]
          : [],
      ),
    );
}

/** Relative imports stay inside the package; others are named in its `package.json`. */
export function breaksOfPackages(
  files: readonly SourceFile[],
  dependencies: Dependencies,
): string[] {
  const climbing = allImports(files)
    .filter(({ file, imported }) => climbsOut(file.path, imported.specifier))
    .map(({ file, imported }) => at(file, imported.line, 'a relative import leaves the package'));
  const unnamed = shippedImports(files).flatMap(({ file, imported }) => {
    const name = packageName(imported.specifier);
    const workspace = workspaceOf(file.path);
    if (name === undefined || dependencies[workspace]?.includes(name)) return [];
    return [at(file, imported.line, `${workspace}/package.json does not name ${name}`)];
  });
  return [...climbing, ...unnamed];
}

function climbsOut(path: string, specifier: string): boolean {
  if (!specifier.startsWith('.')) return false;
  const target = posix.join(posix.dirname(path), specifier);
  return workspaceOf(target) !== workspaceOf(path);
}

/** `@aws-sdk/client-s3/x` is of `@aws-sdk/client-s3`; nothing for files and Node's own modules. */
function packageName(specifier: string): string | undefined {
  if (specifier.startsWith('.') || specifier.startsWith('node:')) return undefined;
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

/**
 * That only doors are used, Node and the compiler see. Here: there are walls, each door has a user, and
 * testing ships not.
 */
export function breaksOfDoors(files: readonly SourceFile[], doors: Doors): string[] {
  const open = Object.entries(doors).flatMap(([workspace, listed]) =>
    listed.includes('*') ? [`${workspace}/package.json: all of it is a door`] : [],
  );
  const unused = Object.entries(doors).flatMap(([workspace, listed]) =>
    listed
      .filter((door) => !door.includes('*') && !isUsed(files, workspace, door))
      .map((door) => `${workspace}/package.json: nobody outside uses ${door}`),
  );
  const shippedTesting = shippedImports(files)
    .filter(({ imported }) => /(^|\/)testing\//.test(imported.specifier))
    .map(({ file, imported }) => at(file, imported.line, 'what tests share is not shipped'));
  return [...open, ...unused, ...shippedTesting];
}

/** By text: code that tests send to a guest counts. */
function isUsed(files: readonly SourceFile[], workspace: string, door: string): boolean {
  const room = `@coffer/${workspace.split('/')[1]}`;
  const name = door === '.' ? `${room}'` : `${room}/${door}'`;
  return files.some(({ path, text }) => !path.startsWith(`${workspace}/`) && text.includes(name));
}

export function breaksOfCycles(files: readonly SourceFile[]): string[] {
  const arrows = new Map<string, Map<string, string>>();
  for (const { file, imported } of shippedImports(files)) {
    const from = workspaceOf(file.path).split('/')[1] ?? '';
    const to = workspaceTarget(imported.specifier)?.room;
    if (to === undefined || to === from) continue;
    const known = arrows.get(from) ?? new Map<string, string>();
    arrows.set(from, known.set(to, at(file, imported.line, 'closes the cycle')));
  }
  return [...arrows.keys()].flatMap((start) => cyclesFrom(start, [start], arrows));
}

/** Cycles through `start`, told once: from the member whose name sorts first. */
function cyclesFrom(
  start: string,
  trail: readonly string[],
  arrows: ReadonlyMap<string, ReadonlyMap<string, string>>,
): string[] {
  const last = trail.at(-1) ?? start;
  return [...(arrows.get(last) ?? [])].flatMap(([to, place]) => {
    if (to === start) return [`${place}: ${[...trail, start].join(' -> ')}`];
    if (to < start || trail.includes(to)) return [];
    return cyclesFrom(start, [...trail, to], arrows);
  });
}

interface Target {
  room: string;
  file: string;
}

/** What `@coffer/disk/raw.ts` names; nothing for imports from outside the workspaces. */
function workspaceTarget(specifier: string): Target | undefined {
  const match = /^@coffer\/([^/]+)(?:\/(.+))?$/.exec(specifier);
  return match?.[1] === undefined ? undefined : { room: match[1], file: match[2] ?? 'index.ts' };
}

function shipped(files: readonly SourceFile[]): SourceFile[] {
  return files.filter((file) => /^(packages|apps)\//.test(file.path) && !isTesting(file.path));
}

function shippedImports(files: readonly SourceFile[]): { file: SourceFile; imported: Import }[] {
  return allImports(shipped(files));
}

function allImports(files: readonly SourceFile[]): { file: SourceFile; imported: Import }[] {
  return files
    .filter((file) => /^(packages|apps)\//.test(file.path))
    .flatMap((file) => importsOf(file).map((imported) => ({ file, imported })));
}

function matches(file: SourceFile, pattern: RegExp, rule: string): string[] {
  return codeLines(file).flatMap((code, index) => {
    const found = pattern.exec(code);
    return found === null ? [] : [at(file, index + 1, `${rule} ${found[0]}`)];
  });
}

function at(file: SourceFile, line: number, rule: string): string {
  return `${file.path}:${line}: ${rule}`;
}
