/**
 * What a file system may hold after a power loss: all that was synced, and of the rest anything.
 * Each name goes back to some moment since it was synced; what was not synced of a file is cut, or
 * zeroes, or there. That is weaker than what real file systems promise.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Random } from '@coffer/base';
import type { Step } from './recorded-calls.ts';

/** How what was not synced ends: all of it lost, all of it there, or each at random. */
export type Loss = 'all' | 'none' | 'random';

/** A name after a change of it: what it names, or nothing. */
type Named = { readonly type: 'file'; readonly file: number } | { readonly type: 'folder' } | null;

interface Change {
  readonly at: number;
  readonly named: Named;
}

export interface CrashState {
  readonly folders: readonly string[];
  readonly files: ReadonlyMap<string, Buffer>;
}

/** The state after the first `length` steps of the record. */
export function crashState(
  record: readonly Step[],
  length: number,
  { loss, random }: { readonly loss: Loss; readonly random: Random },
): CrashState {
  const names = new Map<string, Change[]>();
  const contents = new Map<number, { bytes: Buffer[]; at: number[] }>();
  const fileSyncs = new Map<number, number>();
  const folderSyncs = new Map<string, number>();
  const change = (path: string, at: number, named: Named): void => {
    names.set(path, [...(names.get(path) ?? []), { at, named }]);
  };
  for (const [at, step] of record.slice(0, length).entries()) {
    switch (step.type) {
      case 'mkdir':
        change(step.path, at, { type: 'folder' });
        break;
      case 'create':
        change(step.path, at, { type: 'file', file: step.file });
        contents.set(step.file, { bytes: [], at: [] });
        break;
      case 'write':
        contents.get(step.file)!.bytes.push(step.bytes);
        contents.get(step.file)!.at.push(at);
        break;
      case 'link':
        change(step.to, at, names.get(step.from)!.at(-1)!.named);
        break;
      case 'rename':
        change(step.to, at, names.get(step.from)!.at(-1)!.named);
        change(step.from, at, null);
        break;
      case 'unlink':
        change(step.path, at, null);
        break;
      case 'sync-file':
        fileSyncs.set(step.file, Math.max(step.since, fileSyncs.get(step.file) ?? 0));
        break;
      case 'sync-folder':
        folderSyncs.set(step.path, Math.max(step.since, folderSyncs.get(step.path) ?? 0));
        break;
      case 'event':
        break;
    }
  }

  const survived = new Map<string, Named>();
  for (const [path, changes] of names) {
    const parent = dirname(path) === '.' ? '' : dirname(path);
    const synced = folderSyncs.get(parent) ?? 0;
    const durable = changes.filter(({ at }) => at < synced).length;
    const kept = chooseBetween(durable, changes.length, loss, random);
    survived.set(path, changes[kept - 1]?.named ?? null);
  }
  return materialize(survived, (file) => {
    const { bytes, at } = contents.get(file)!;
    const synced = fileSyncs.get(file) ?? 0;
    const durable = at.filter((each) => each < synced).length;
    return tornContent(bytes, durable, loss, random);
  });
}

function chooseBetween(least: number, most: number, loss: Loss, random: Random): number {
  if (loss === 'all') return least;
  if (loss === 'none') return most;
  return least + Math.floor(random.fraction() * (most - least + 1));
}

function tornContent(
  writes: readonly Buffer[],
  durable: number,
  loss: Loss,
  random: Random,
): Buffer {
  const whole = Buffer.concat(writes);
  const safe = writes.slice(0, durable).reduce((sum, { length }) => sum + length, 0);
  if (loss === 'none' || safe === whole.length) return whole;
  const kept = loss === 'all' ? safe : chooseBetween(safe, whole.length, loss, random);
  const torn = whole.subarray(0, kept);
  // The size may be on the disk before the data is.
  const isZeroFilled = loss === 'random' && random.fraction() < 0.5;
  return isZeroFilled ? Buffer.concat([torn, Buffer.alloc(whole.length - kept)]) : torn;
}

/** What lies in a folder that was lost is lost with it. */
function materialize(
  survived: ReadonlyMap<string, Named>,
  contentOf: (file: number) => Buffer,
): CrashState {
  const isThere = (folder: string): boolean =>
    folder === '.' || (survived.get(folder)?.type === 'folder' && isThere(dirname(folder)));
  const folders: string[] = [];
  const files = new Map<string, Buffer>();
  for (const [path, named] of survived) {
    if (!named || !isThere(dirname(path))) continue;
    if (named.type === 'folder') folders.push(path);
    else files.set(path, contentOf(named.file));
  }
  return { folders: folders.sort(), files };
}

export function writeState({ folders, files }: CrashState, root: string): void {
  for (const folder of folders) mkdirSync(join(root, folder));
  for (const [path, bytes] of files) writeFileSync(join(root, path), bytes);
}
