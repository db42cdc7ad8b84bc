/** Batches of small files, by threads and without them. */
import assert from 'node:assert/strict';
import {
  closeSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { OPEN_FOLDER, OPEN_READ, openPath, statAt } from '@coffer/base/folder-calls.ts';
import { FileThreads } from './file-threads.ts';
import { isFolderIn, namesOf, statsIn } from './folder-listing.ts';
import type { NewFileRequest } from './new-files.ts';
import type { SmallFileRequest } from './small-files.ts';

const root = mkdtempSync(join(tmpdir(), 'coffer-file-threads-'));
after(() => rmSync(root, { recursive: true }));
let count = 0;

/** More than are worth a thread. */
const FILES = 200;
const MODIFIED_NS = 1_234_567_890_123_456_789n;

function newFolder(): { path: string; fd: number } & Disposable {
  const path = join(root, String(count++));
  mkdirSync(path);
  const fd = openPath(Buffer.from(path), OPEN_READ | OPEN_FOLDER);
  return { path, fd, [Symbol.dispose]: () => closeSync(fd) };
}

const contentOf = (index: number): string => `content ${index} `.repeat(index % 7);
const newSlab = (): Buffer => Buffer.from(new SharedArrayBuffer(64 * 1024));

function newFiles(slab: Buffer): NewFileRequest[] {
  const { uid: userId, gid: groupId } = lstatSync(root);
  let used = 0;
  return Array.from({ length: FILES }, (_, index) => {
    const length = slab.write(contentOf(index), used);
    const pieces = length === 0 ? [] : [{ slabOffset: used, fileOffset: 0, length }];
    used += length;
    const owner = { userId, groupId };
    return { folder: 0, name: `f${index}`, mode: 0o640, ...owner, modifiedNs: MODIFIED_NS, pieces };
  });
}

/** As they are now. */
function smallFiles(folder: number, names: readonly string[]): SmallFileRequest[] {
  let used = 0;
  return names.map((name) => {
    const { inode, device, modifiedNs, changedNs, sizeBytes } = statAt(folder, Buffer.from(name));
    const seen = { inode, device, modifiedNs, changedNs, sizeBytes: Number(sizeBytes) };
    const slabOffset = used;
    used += seen.sizeBytes;
    return { ...seen, folder: 0, name, slabOffset };
  });
}

for (const threadsMax of [0, 1, 3]) {
  describe(`with ${threadsMax} threads`, () => {
    test('new files have their content and metadata', async () => {
      await using threads = new FileThreads(threadsMax);
      using folder = newFolder();
      const slab = newSlab();
      const folders = [{ fd: folder.fd, inherits: true }];
      const outcomes = await threads.make(slab, { folders, files: newFiles(slab) });
      assert.deepEqual(outcomes, Array(FILES).fill([]));
      for (let index = 0; index < FILES; index++) {
        assert.equal(readFileSync(join(folder.path, `f${index}`), 'utf8'), contentOf(index));
        const stats = statAt(folder.fd, Buffer.from(`f${index}`));
        assert.deepEqual([stats.mode, stats.modifiedNs], [0o640, MODIFIED_NS]);
      }
    });

    test('who looks meanwhile sees whole files only', async () => {
      await using threads = new FileThreads(threadsMax);
      using folder = newFolder();
      const slab = Buffer.from(new SharedArrayBuffer(1024 * 1024)).fill('x');
      const pieces = Array.from({ length: 64 }, (_, index) => {
        return { slabOffset: 0, fileOffset: index * 16_384, length: 16_384 };
      });
      const files = newFiles(newSlab()).map((file) => ({ ...file, pieces }));
      const folders = [{ fd: folder.fd, inherits: false }];
      let isDone = false;
      const making = threads.make(slab, { folders, files }).finally(() => (isDone = true));
      while (!isDone) {
        await setImmediate();
        for (const name of readdirSync(folder.path)) {
          if (name.startsWith('.coffer-')) continue;
          assert.equal(lstatSync(join(folder.path, name)).size, 1024 * 1024, name);
        }
      }
      assert.deepEqual(await making, Array(FILES).fill([]));
      assert.equal(readdirSync(folder.path).length, FILES);
    });

    test('a name that is taken keeps what it has', async () => {
      await using threads = new FileThreads(threadsMax);
      using folder = newFolder();
      writeFileSync(join(folder.path, 'f3'), 'of somebody');
      symlinkSync('elsewhere', join(folder.path, 'f5'));
      const slab = newSlab();
      const folders = [{ fd: folder.fd, inherits: true }];
      const outcomes = await threads.make(slab, { folders, files: newFiles(slab) });
      const unmade = outcomes.flatMap((outcome, index) => (outcome ? [] : [index]));
      assert.deepEqual(unmade, [3, 5]);
      assert.equal(readdirSync(folder.path).length, FILES, 'nothing else is left');
      assert.equal(readFileSync(join(folder.path, 'f3'), 'utf8'), 'of somebody');
      assert.equal(lstatSync(join(root, 'elsewhere'), { throwIfNoEntry: false }), undefined);
    });

    test('folders are listed with what is in them', async () => {
      await using threads = new FileThreads(threadsMax);
      using folder = newFolder();
      for (const name of ['b', 'a', 'ü']) writeFileSync(join(folder.path, name), name);
      mkdirSync(join(folder.path, 'c'));
      // More than are worth a thread.
      for (let times = 0; times < 40; times++) {
        const listing = await threads.list(folder.fd);
        assert.ok(listing);
        const names = namesOf(listing);
        assert.deepEqual(names.map(String), ['a', 'b', 'c', 'ü']);
        names.forEach((name, index) => {
          assert.deepEqual(statsIn(listing, index), statAt(folder.fd, name));
          assert.equal(isFolderIn(listing, index), name.toString() === 'c');
        });
        assert.equal(statsIn(listing, 4), undefined);
      }
      const file = openPath(Buffer.from(join(folder.path, 'a')), OPEN_READ);
      assert.equal(await threads.list(file), undefined);
      closeSync(file);
    });

    test('files are read as they were seen', async () => {
      await using threads = new FileThreads(threadsMax);
      using folder = newFolder();
      const names = Array.from({ length: FILES }, (_, index) => `f${index}`);
      names.forEach((name, index) => writeFileSync(join(folder.path, name), contentOf(index)));
      const files = smallFiles(folder.fd, names);
      const slab = newSlab();
      const outcomes = await threads.read(slab, { folders: [folder.fd], files });
      outcomes.forEach((outcome, index) => {
        const { slabOffset, sizeBytes } = files[index]!;
        assert.deepEqual(outcome, { length: sizeBytes, isChanged: false });
        const read = slab.toString('utf8', slabOffset, slabOffset + sizeBytes);
        assert.equal(read, contentOf(index));
      });
    });

    test('what is not as it was seen is told, and nothing else is read', async () => {
      await using threads = new FileThreads(threadsMax);
      using folder = newFolder();
      const at = (name: string): string => join(folder.path, name);
      const names = Array.from({ length: FILES }, (_, index) => `f${index}`);
      for (const name of names) writeFileSync(at(name), 'content');
      const files = smallFiles(folder.fd, names);
      rmSync(at('f1'));
      writeFileSync(at('new'), 'secret!');
      renameSync(at('new'), at('f2'));
      writeFileSync(at('f3'), 'longer than it was');
      writeFileSync(at('f4'), 'cut');
      rmSync(at('f5'));
      symlinkSync('f6', at('f5'));
      const outcomes = await threads.read(newSlab(), { folders: [folder.fd], files });
      assert.deepEqual(outcomes.slice(0, 7), [
        { length: 7, isChanged: false },
        undefined,
        undefined,
        { length: 7, isChanged: true },
        { length: 3, isChanged: true },
        undefined,
        { length: 7, isChanged: false },
      ]);
    });
  });
}
