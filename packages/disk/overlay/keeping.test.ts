import assert from 'node:assert/strict';
import {
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { seededRandom } from '@coffer/base';
import type { WritableDisk } from '../disk.ts';
import { openWritableRawDisk } from '../raw.ts';
import { assertHolds, writableDiskContract, writeAtRandom } from '../testing/contract.ts';
import { bringBack, type KeptOptions, openKeeping } from './keeping.ts';

const SIZE = 3 * 1024 * 1024 + 512;
const folder = mkdtempSync(join(tmpdir(), 'coffer-keeping-'));
after(() => rmSync(folder, { recursive: true }));
const path = (name: string): string => join(folder, name);

async function kept(name: string): Promise<KeptOptions> {
  return {
    target: await openWritableRawDisk(path(name)),
    path: path(`${name}-kept`),
    base: 'test',
  };
}

let made = 0;
writableDiskContract('a disk that keeps what is overwritten', async (sizeBytes) => {
  const name = `contract-${made++}`;
  writeFileSync(path(name), Buffer.alloc(sizeBytes));
  const open = async (): Promise<WritableDisk> => await openKeeping(await kept(name));
  return { disk: await open(), reopen: open };
});

test('what was overwritten comes back, after several runs, and more than once', async () => {
  const original = seededRandom(1).bytes(SIZE);
  writeFileSync(path('disk'), original);
  const expected = Buffer.from(original);
  for (const seed of [2, 3]) {
    const disk = await openKeeping(await kept('disk'));
    await writeAtRandom(disk, expected, seededRandom(seed), 30);
    await assertHolds(disk, expected, seededRandom(4));
    await disk.close();
  }
  assert.ok(!readFileSync(path('disk')).equals(original));
  await bringBack(await kept('disk'));
  assert.ok(readFileSync(path('disk')).equals(original));
  await bringBack(await kept('disk'));
  assert.ok(readFileSync(path('disk')).equals(original));
});

test('at every write, what it destroys can be brought back already', async () => {
  const original = seededRandom(5).bytes(SIZE);
  writeFileSync(path('crash'), original);
  const { target, ...rest } = await kept('crash');
  let writes = 0;
  // At each write the files are copied as a crash would leave them after it.
  const watched: WritableDisk = {
    sizeBytes: target.sizeBytes,
    read: (offset, bytes) => target.read(offset, bytes),
    extents: (range) => target.extents(range),
    flush: () => target.flush(),
    close: () => target.close(),
    zero: (offset, length) => watched.write(offset, Buffer.alloc(length)),
    write: async (offset, bytes) => {
      await target.write(offset, bytes);
      copyFileSync(path('crash'), path('after'));
      copyFileSync(path('crash-kept'), path('after-kept'));
      await bringBack(await kept('after'));
      assert.ok(readFileSync(path('after')).equals(original), `write ${writes}`);
      writes++;
    },
  };
  const disk = await openKeeping({ ...rest, target: watched });
  await writeAtRandom(disk, Buffer.from(original), seededRandom(6), 12);
  await disk.close();
  assert.ok(writes > 6, `${writes}`);
});

test('a file of kept blocks that a crash has left without its head holds nothing yet', async () => {
  const original = seededRandom(6).bytes(SIZE);
  writeFileSync(path('begun'), original);
  const whole = await openKeeping(await kept('begun'));
  await whole.close();
  const { size } = statSync(path('begun-kept'));
  truncateSync(path('begun-kept'), 0);
  truncateSync(path('begun-kept'), size);
  await bringBack(await kept('begun'));
  assert.ok(readFileSync(path('begun')).equals(original));
  const disk = await openKeeping(await kept('begun'));
  await disk.write(0, Buffer.alloc(SIZE));
  await disk.close();
  await bringBack(await kept('begun'));
  assert.ok(readFileSync(path('begun')).equals(original));
});

test('a file of something else is left alone, whatever it begins with', async () => {
  writeFileSync(path('foreign'), Buffer.alloc(SIZE));
  for (const content of [Buffer.alloc(SIZE), Buffer.alloc(100_000), Buffer.from('text')]) {
    writeFileSync(path('foreign-kept'), content);
    await assert.rejects(openKeeping(await kept('foreign')), { code: 'target-unwritable' });
    assert.ok(readFileSync(path('foreign-kept')).equals(content));
  }
});

test('the disk is closed when what is kept of it cannot be opened', async () => {
  writeFileSync(path('unkept'), Buffer.alloc(SIZE));
  writeFileSync(path('unkept-kept'), 'something else');
  for (const open of [openKeeping, bringBack]) {
    const options = await kept('unkept');
    let isClosed = false;
    const close = async (): Promise<void> => {
      isClosed = true;
      await options.target.close();
    };
    const target = Object.assign(Object.create(options.target) as WritableDisk, { close });
    await assert.rejects(open({ ...options, target }), { code: 'target-unwritable' });
    assert.ok(isClosed);
  }
});
