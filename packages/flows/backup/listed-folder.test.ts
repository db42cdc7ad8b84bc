/** Folders that threads list ahead of a walk. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { systemErrorCode } from '@coffer/base';
import { FileThreads } from '@coffer/workloads/files/file-threads.ts';
import { SourceFolder } from '@coffer/workloads/files/source-folder.ts';
import { type HeldClock, heldClock } from '@coffer/base/testing/held-clock.ts';
import { ListedFolder } from './listed-folder.ts';

const base = mkdtempSync(join(tmpdir(), 'coffer-listed-'));
after(() => rmSync(base, { recursive: true }));
let count = 0;

interface Walked {
  readonly path: string;
  readonly listed: ListedFolder;
  readonly clock: HeldClock;
  readonly names: readonly string[];
}

/** A folder with these folders in it, each with one file. */
async function inFolder(
  folders: readonly string[],
  walk: (walked: Walked) => Promise<void>,
): Promise<void> {
  const path = join(base, String(count++));
  mkdirSync(path);
  for (const name of folders) {
    mkdirSync(join(path, name));
    writeFileSync(join(path, name, 'file'), 'content');
  }
  const openBefore = readdirSync('/proc/self/fd').length;
  const clock = heldClock();
  await using threads = new FileThreads(1);
  const listed = ListedFolder.root(SourceFolder.root(Buffer.from(path)), { threads, clock });
  const names = (await listed.names()).map(String);
  await walk({ path, listed, clock, names });
  await listed.close();
  assert.equal(readdirSync('/proc/self/fd').length, openBefore, 'all is closed');
}

const FOLDERS = ['a', 'b', 'c', 'd', 'e', 'f'];

test('folders are found, gone into in order, and closed with those that nobody went into', async () => {
  await inFolder(FOLDERS, async ({ listed, names }) => {
    assert.deepEqual(names, FOLDERS);
    for (const index of [0, 1, 2]) {
      listed.lookAhead(index, () => true);
      const below = await listed.enter(index, listed.statsOf(index));
      assert.deepEqual((await below.names()).map(String), ['file']);
      assert.equal(below.statsOf(0).sizeBytes, 7n);
      await below.close();
    }
  });
});

test('what is not wanted is not opened', async () => {
  await inFolder(FOLDERS, async ({ listed }) => {
    const asked: string[] = [];
    listed.lookAhead(0, (name) => {
      asked.push(name.toString());
      return false;
    });
    assert.deepEqual(asked, FOLDERS);
  });
});

test('after a moment all is looked at again', async () => {
  await inFolder(['a', 'b'], async ({ path, listed, clock }) => {
    listed.lookAhead(0, () => true);
    const below = await listed.enter(0, listed.statsOf(0));
    await below.names();
    writeFileSync(join(path, 'a', 'file'), 'longer than before');
    writeFileSync(join(path, 'b', 'new'), '');
    assert.equal(below.statsOf(0).sizeBytes, 7n);
    clock.pass(1000);
    assert.equal(below.statsOf(0).sizeBytes, 18n);
    await below.close();
    const next = await listed.enter(1, listed.statsOf(1));
    assert.deepEqual((await next.names()).map(String), ['file', 'new']);
    await next.close();
  });
});

test('a folder that took the name of one that was listed is not gone into as that', async () => {
  await inFolder(['a', 'b'], async ({ path, listed }) => {
    const seen = listed.statsOf(1);
    listed.lookAhead(0, () => true);
    renameSync(join(path, 'b'), join(base, `moved-${count}`));
    mkdirSync(join(path, 'b'));
    // It was opened as what it was seen as, and is that still.
    const listedAhead = await listed.enter(1, seen);
    assert.deepEqual((await listedAhead.names()).map(String), ['file']);
    await listedAhead.close();
    await assert.rejects(listed.enter(1, seen), (error) => systemErrorCode(error) === 'ESTALE');
  });
});
