// Keeps the arrows between rooms, and what may have effects, as this table says.

import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { test } from 'node:test';
import type { Dependencies, Doors, Rooms } from './architecture/rules.ts';
import {
  breaksOfCycles,
  breaksOfDeterminism,
  breaksOfDoors,
  breaksOfEnvironment,
  breaksOfLayers,
  breaksOfNames,
  breaksOfPackages,
  breaksOfPurity,
  breaksOfTable,
  breaksOfTestTime,
} from './architecture/rules.ts';
import type { SourceFile } from './architecture/source-file.ts';

// Apps import rooms, never each other; only their compose.ts names adapters. Tests are free.
const ROOMS: Rooms = {
  base: { imports: [] },
  storage: { imports: ['base'], adapters: ['memory', 'filesystem', 's3', 'azure-blob', 'open'] },
  disk: { imports: ['base'] },
  'file-system': { imports: ['base', 'disk'] },
  policy: { imports: ['base'], pure: true },
  repository: {
    imports: ['base', 'storage'],
    importsOnly: { storage: ['object-store.ts', 'interruptible.ts'] },
    // The benchmark measures the parts.
    shippedDoors: ['index.ts', 'chunk/compression.ts', 'chunk/cutter.ts'],
  },
  workloads: {
    imports: ['base', 'disk'],
    adapters: ['libvirt', 'postgres', 'mariadb', 'hyperv'],
  },
  flows: {
    imports: ['base', 'storage', 'repository', 'disk', 'file-system', 'workloads', 'policy'],
  },
  jobs: { imports: ['base'] },
  api: { imports: [] },
};

const ROOT = `${import.meta.dirname}/..`;
const FILES: SourceFile[] = findFiles('{packages,apps,tests,bench,scripts}/**/*.ts').map(
  (path) => ({ path, text: readFileSync(`${ROOT}/${path}`, 'utf8') }),
);
const DEPENDENCIES: Dependencies = Object.fromEntries(
  findFiles('{packages,apps}/*/package.json').map((path) => [dirname(path), namedIn(path)]),
);
const DOORS: Doors = Object.fromEntries(
  findFiles('packages/*/package.json').map((path) => [dirname(path), doorsOf(path)]),
);

function findFiles(pattern: string): string[] {
  return globSync(pattern, { cwd: ROOT, exclude: (path) => path.includes('node_modules') }).sort();
}

function namedIn(path: string): string[] {
  const manifest = JSON.parse(readFileSync(`${ROOT}/${path}`, 'utf8')) as {
    dependencies?: Record<string, string>;
    optionalDependencies?: Record<string, string>;
  };
  return Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies });
}

function doorsOf(path: string): string[] {
  const manifest = JSON.parse(readFileSync(`${ROOT}/${path}`, 'utf8')) as {
    exports: Record<string, string>;
  };
  return Object.keys(manifest.exports).map((door) => door.replace('./', ''));
}

function check(breaks: string[]): void {
  assert.equal(breaks.length, 0, `\n${breaks.join('\n')}`);
}

test('rooms import only what the table allows', () => check(breaksOfTable(FILES, ROOMS)));
test('pure files have no effects', () => check(breaksOfPurity(FILES, ROOMS)));
test('time and randomness are parameters', () => check(breaksOfDeterminism(FILES)));
test('programs that are started inherit no secret', () => check(breaksOfEnvironment(FILES)));
test('names of files say what is in them', () => check(breaksOfNames(FILES)));
test('names of tests say when they are not fast', () => check(breaksOfLayers(FILES)));
test('no test measures how long it takes', () => check(breaksOfTestTime(FILES)));
test('imports stay inside packages or are declared', () =>
  check(breaksOfPackages(FILES, DEPENDENCIES)));
test('packages list their doors, which have users, and what tests share is not shipped', () =>
  check(breaksOfDoors(FILES, DOORS)));
test('packages do not import each other in a circle', () => check(breaksOfCycles(FILES)));

// The rules themselves: what each must find, and what it must leave alone.

function caught(
  rule: (files: SourceFile[]) => string[],
  path: string,
  text: string,
): string | undefined {
  return rule([{ path, text }])[0];
}

test('the table catches arrows that it does not hold', () => {
  const table = (files: SourceFile[]) => breaksOfTable(files, ROOMS);
  const cases: [path: string, specifier: string, reason: string | undefined][] = [
    ['packages/base/x.ts', '@coffer/disk/disk.ts', 'base may not import disk'],
    ['packages/disk/x.ts', '@coffer/base', undefined],
    ['packages/disk/x.ts', '@coffer/storage/object-store.ts', 'disk may not import storage'],
    ['packages/disk/x.test.ts', '@coffer/storage/object-store.ts', undefined],
    ['packages/disk/x.ts', '@coffer/disk/raw.ts', 'own package is imported by a relative path'],
    ['packages/repository/x.ts', '@coffer/storage/object-store.ts', undefined],
    [
      'packages/repository/x.ts',
      '@coffer/storage/s3.ts',
      'only object-store.ts, interruptible.ts of storage',
    ],
    [
      'packages/repository/x.ts',
      '@coffer/storage',
      'only object-store.ts, interruptible.ts of storage',
    ],
    ['packages/repository/testing/x.ts', '@coffer/storage/memory.ts', undefined],
    ['packages/flows/x.ts', '@coffer/storage/s3/store.ts', 'flows may not name an adapter'],
    ['packages/flows/x.ts', '@coffer/storage/throttled.ts', undefined],
    ['packages/flows/x.ts', '@coffer/repository', undefined],
    ['packages/flows/x.ts', '@coffer/repository/keys.ts', 'keys.ts of repository is for tests'],
    ['apps/cli/x.ts', '@coffer/repository/keys.ts', 'keys.ts of repository is for tests'],
    ['apps/cli/x.ts', '@coffer/repository/chunk/cutter.ts', undefined],
    ['packages/flows/x.test.ts', '@coffer/repository/keys.ts', undefined],
    ['packages/flows/x.ts', '@coffer/cli', "'cli' is no room"],
    ['packages/unknown/x.ts', '@coffer/base', "'unknown' is not in the import table"],
    ['apps/cli/x.ts', '@coffer/storage/s3.ts', 'only compose.ts of an app names an adapter'],
    ['apps/cli/compose.ts', '@coffer/storage/s3.ts', undefined],
    ['apps/cli/x.ts', '@coffer/agent/x.ts', "'agent' is no room"],
    ['apps/portal/x.ts', '@coffer/disk', 'portal imports api only'],
  ];
  for (const [path, specifier, reason] of cases) {
    const found = caught(table, path, `\nimport {\n  a,\n} from '${specifier}';\n`);
    if (reason === undefined) assert.equal(found, undefined);
    else assert.ok(found?.startsWith(`${path}:4: `) && found.includes(reason), found);
  }
});

test('every form of import is seen, and none in comments', () => {
  const table = (files: SourceFile[]) => breaksOfTable(files, ROOMS);
  const seen = [
    "import '@coffer/disk';",
    "export * from '@coffer/disk';",
    "import type { Disk } from '@coffer/disk/disk.ts';",
    "const disk = await import('@coffer/disk');",
    "let disk: import('@coffer/disk').Disk;",
    'import disk from "@coffer/disk";',
  ];
  for (const text of seen) assert.ok(caught(table, 'packages/base/x.ts', text), text);
  const unseen = ["// import '@coffer/disk';", "/* export * from\n '@coffer/disk' */"];
  for (const text of unseen) assert.equal(caught(table, 'packages/base/x.ts', text), undefined);
});

test('purity catches effects in plans, machines, codecs and policy only', () => {
  const purity = (files: SourceFile[]) => breaksOfPurity(files, ROOMS);
  const pure = ['packages/flows/backup/plan.ts', 'packages/disk/vhd/codec.ts'];
  pure.push('packages/repository/pack/footer-codec.ts', 'packages/policy/retention.ts');
  const effects = ["import { open } from 'node:fs/promises';", 'const now = Date.now();'];
  effects.push('const home = process.env.HOME;', 'const now = new Date();', 'setTimeout(go, 1);');
  for (const text of effects) {
    for (const path of pure) assert.ok(caught(purity, path, text), `${path}: ${text}`);
    assert.equal(caught(purity, 'packages/flows/backup/steps.ts', text), undefined);
  }
  for (const text of ["say('process.exit');", '// Date.now is a parameter.', 'new Date(at);']) {
    assert.equal(caught(purity, 'packages/policy/retention.ts', text), undefined);
  }
});

test('determinism catches clocks and randomness outside their own files', () => {
  const sources = ['Date.now()', 'new Date()', 'Math.random()', 'randomBytes(16)', 'randomUUID()'];
  for (const text of sources) {
    assert.ok(caught(breaksOfDeterminism, 'packages/repository/x.ts', text), text);
    assert.equal(caught(breaksOfDeterminism, 'packages/base/clock.ts', text), undefined);
    assert.equal(caught(breaksOfDeterminism, 'apps/cli/compose.ts', text), undefined);
    assert.equal(caught(breaksOfDeterminism, 'packages/repository/x.test.ts', text), undefined);
  }
  const keys = "generateKeyPairSync('x25519');";
  assert.equal(caught(breaksOfDeterminism, 'packages/repository/keys.ts', keys), undefined);
});

test('names that say nothing and inner index files are caught', () => {
  const bad = ['packages/disk/utils.ts', 'packages/disk/helpers/x.ts', 'apps/cli/path-util.ts'];
  bad.push('packages/disk/vhd/index.ts', 'packages/base/common.test.ts');
  for (const path of bad) assert.ok(caught(breaksOfNames, path, ''), path);
  for (const path of ['packages/disk/index.ts', 'packages/disk/common-prefix.ts']) {
    assert.equal(caught(breaksOfNames, path, ''), undefined);
  }
});

test('tests that start servers under the name of a fast one are caught', () => {
  const text = "import { startS3Server } from './testing/s3-server.ts';";
  const slow = ['packages/storage/x.test.ts', 'apps/cli/x.property.test.ts'];
  for (const path of slow) assert.ok(caught(breaksOfLayers, path, text), path);
  const well = [
    'packages/storage/x.live.test.ts',
    'tests/x.night.test.ts',
    'tests/crash/x.test.ts',
  ];
  for (const path of [...well, 'packages/storage/testing/x.ts']) {
    assert.equal(caught(breaksOfLayers, path, text), undefined);
  }
});

test('tests that are decided by time are caught', () => {
  const text = 'assert.ok(performance.now() - startedAt < 2000);';
  assert.ok(caught(breaksOfTestTime, 'packages/disk/x.test.ts', text));
  const lower = text.replace('<', '>');
  assert.equal(caught(breaksOfTestTime, 'packages/disk/x.test.ts', lower), undefined);
});

test('climbing, undeclared and circular imports are caught', () => {
  const named = { 'packages/disk': ['@coffer/base', 'koffi'] };
  const packages = (files: SourceFile[]) => breaksOfPackages(files, named);
  const path = 'packages/disk/vhd/codec.ts';
  assert.ok(caught(packages, path, "import '../../base/bytes.ts';"));
  assert.ok(caught(packages, path, "import '@aws-sdk/client-s3';"));
  for (const name of ['../disk.ts', 'koffi', '@coffer/base/bytes.ts', 'node:assert']) {
    assert.equal(caught(packages, path, `import '${name}';`), undefined);
  }
  const circle: SourceFile[] = [
    { path: 'packages/a/x.ts', text: "import '@coffer/b';" },
    { path: 'packages/b/x.ts', text: "import '@coffer/c';" },
    { path: 'packages/c/x.ts', text: "\nimport '@coffer/a';" },
  ];
  assert.deepEqual(breaksOfCycles(circle), [
    'packages/c/x.ts:2: closes the cycle: a -> b -> c -> a',
  ]);
  assert.deepEqual(breaksOfCycles(circle.slice(0, 2)), []);
});

test('a program that would inherit our environment is caught', () => {
  const start = "import { spawn } from 'node:child_process';\nspawn('ssh', [], { %s });\n";
  const found = (path: string, options: string): string | undefined =>
    caught(breaksOfEnvironment, path, start.replace('%s', options));
  assert.ok(found('packages/disk/x.ts', ''));
  assert.equal(found('packages/disk/x.ts', 'env: toolEnvironment()'), undefined);
  assert.equal(found('packages/disk/x.test.ts', ''), undefined);
});

test('a door without users, one for all, and testing code that is shipped, are caught', () => {
  assert.deepEqual(breaksOfDoors([], { 'packages/disk': ['*'] }), [
    'packages/disk/package.json: all of it is a door',
  ]);
  const doors = { 'packages/disk': ['raw.ts', 'testing/*'] };
  const found = (path: string, specifier: string): string | undefined =>
    caught((files) => breaksOfDoors(files, doors), path, `import '${specifier}';`);
  assert.equal(found('packages/flows/x.test.ts', '@coffer/disk/raw.ts'), undefined);
  assert.match(found('packages/disk/x.ts', './raw.ts') ?? '', /nobody outside uses raw\.ts/);
  const shipping = { path: 'packages/flows/x.ts', text: "import '@coffer/disk/testing/lab.ts';" };
  assert.deepEqual(breaksOfDoors([shipping], {}), [
    'packages/flows/x.ts:1: what tests share is not shipped',
  ]);
});
