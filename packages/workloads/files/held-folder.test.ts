import assert from 'node:assert/strict';
import { closeSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { OPEN_FOLDER, OPEN_READ, openAt, openPath, statOf } from '@coffer/base/folder-calls.ts';
import { HeldFolder } from './held-folder.ts';
import { TargetFolder } from './target-folder.ts';

const OPEN_MAX = 2;
const LEVELS = ['a', 'b', 'c', 'd', 'e', 'f'];

let folder: string;
let openBefore: number;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coffer-held-'));
  openBefore = openCount();
});
afterEach(() => {
  assert.equal(openCount(), openBefore, 'no folder stays open');
  rmSync(folder, { recursive: true });
});

const openCount = (): number => readdirSync('/proc/self/fd').length;
const pathOf = (level: number): string => join(folder, ...LEVELS.slice(0, level));
const inodeOf = (held: HeldFolder): bigint => statOf(held.fd).inode;

/** The root and the folders below, from the root down; only the last of them are open. */
function descended(): HeldFolder[] {
  mkdirSync(pathOf(LEVELS.length), { recursive: true });
  const fd = openPath(Buffer.from(folder), OPEN_READ | OPEN_FOLDER);
  const all = [HeldFolder.root(fd, { openFlags: OPEN_READ, openMax: OPEN_MAX })];
  for (const level of LEVELS) {
    const above = all.at(-1)!;
    const name = Buffer.from(level);
    all.push(above.hold(name, openAt(above.fd, name, OPEN_READ | OPEN_FOLDER)));
  }
  assert.equal(openCount(), openBefore + 1 + OPEN_MAX);
  return all;
}

function closeAll(all: readonly HeldFolder[]): void {
  for (const held of all.toReversed()) held.close();
}

test('folders above are found again by names, by the way up, and in any order', () => {
  const all = descended();
  const inodes = LEVELS.map((_, index) => BigInt(statSync(pathOf(index + 1)).ino));
  for (const order of [
    [5, 4, 3, 2, 1, 0],
    [0, 1, 2, 3, 4, 5],
    [2, 5, 0, 3],
    [1, 5, 1],
  ]) {
    for (const index of order) assert.equal(inodeOf(all[index + 1]!), inodes[index]);
    assert.ok(openCount() <= openBefore + 1 + OPEN_MAX);
  }
  closeAll(all);
});

test('one that is closed shows the way to the one that it is in', () => {
  const all = descended();
  const [, , , , above, below, lowest] = all;
  assert.ok(!above!.isOpen);
  lowest!.close();
  below!.close();
  assert.ok(above!.isOpen);
  closeAll(all);
});

for (const [what, replace] of [
  ['a link to it', (path: string, moved: string): void => symlinkSync(moved, path)],
  ['another folder', (path: string): void => void mkdirSync(join(path, 'c'), { recursive: true })],
] as const) {
  test(`${what} that took the name of a folder is not taken for it`, () => {
    const all = descended();
    const outside = mkdtempSync(join(tmpdir(), 'coffer-outside-'));
    renameSync(pathOf(2), join(outside, 'moved'));
    replace(pathOf(2), join(outside, 'moved'));
    assert.throws(
      () => all[2]!.fd,
      (error) => ['ESTALE', 'ELOOP', 'ENOTDIR'].includes(codeOf(error)),
    );
    assert.throws(() => all[3]!.fd);
    closeAll(all);
    rmSync(outside, { recursive: true });
  });
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

test('a folder that was moved does not lead out of the one that it was in', () => {
  const all = descended();
  const outside = mkdtempSync(join(tmpdir(), 'coffer-outside-'));
  // What is open goes along; the way up leads to a folder that is none of the walk.
  renameSync(pathOf(5), join(outside, 'e'));
  assert.equal(inodeOf(all[4]!), BigInt(statSync(pathOf(4)).ino));
  closeAll(all);
  rmSync(outside, { recursive: true });
});

test('a target goes on in folders that were released, and joins names from closed ones', () => {
  const root = TargetFolder.open(Buffer.from(folder), OPEN_MAX);
  const all = [root];
  for (const level of LEVELS) all.push(all.at(-1)!.enter(Buffer.from(level)));
  const put = (level: number): void => {
    const fd = all[level]!.createFile(Buffer.from('file'));
    writeFileSync(fd, String(level));
    closeSync(fd);
  };
  for (const level of [1, 6, 2, 5, 3, 4, 0]) put(level);
  for (let level = 6; level > 2; level--) {
    all[level]!.setMetadata(METADATA, () => assert.fail('all can be kept'));
    all[level]!.close();
  }
  const [file, name] = [Buffer.from('file'), Buffer.from('name')];
  all[2]!.createHardLink({ folder: all[6]!, name: file }, name, all[6]!.identityOf(file));
  for (const level of [2, 1, 0]) all[level]!.close();
  assert.equal(readFileSync(join(pathOf(2), 'name'), 'utf8'), '6');
  for (let level = 0; level <= 6; level++) {
    assert.equal(readFileSync(join(pathOf(level), 'file'), 'utf8'), String(level));
    if (level > 2) assert.equal(statSync(pathOf(level)).mtimeMs, 1000);
  }
});

const METADATA = {
  mode: 0o700,
  userId: process.getuid?.() ?? 0,
  groupId: process.getgid?.() ?? 0,
  modifiedNs: 1_000_000_000n,
  extendedAttributes: [],
};
