import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
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
import { type ErrorCode, isCofferError, seededRandom } from '@coffer/base';
import type { Disk, Extent } from './disk.ts';
import { createRawDisk, openRawDisk, openWritableRawDisk } from './raw.ts';
import { writableDiskContract } from './testing/contract.ts';

const MIB = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'coffer-raw-'));
after(() => rmSync(folder, { recursive: true }));
const path = (name: string): string => join(folder, name);

const fails =
  (code: ErrorCode) =>
  (error: unknown): boolean =>
    isCofferError(error, code);

async function extentsOf(disk: Disk): Promise<Extent[]> {
  const extents: Extent[] = [];
  let end = 0;
  for await (const extent of disk.extents()) {
    assert.equal(extent.offset, end, 'extents are in order, without gaps');
    end += extent.length;
    extents.push(extent);
  }
  assert.equal(end, disk.sizeBytes);
  return extents;
}

let created = 0;
writableDiskContract('raw', async (sizeBytes) => {
  const name = path(`contract-${created++}`);
  return { disk: await createRawDisk(name, sizeBytes), reopen: () => openRawDisk(name) };
});

test('what is written is read, zeroes are holes, and extents tell them', async () => {
  const disk = await createRawDisk(path('new'), 8 * MIB + 100);
  const [first, last] = [seededRandom(1).bytes(MIB), seededRandom(2).bytes(100)];
  await disk.write(2 * MIB, first);
  await disk.write(8 * MIB, last);
  await disk.write(5 * MIB, first);
  await disk.zero(5 * MIB, MIB);
  await disk.flush();
  const expected = Buffer.alloc(8 * MIB + 100);
  first.copy(expected, 2 * MIB);
  last.copy(expected, 8 * MIB);
  const read = Buffer.alloc(disk.sizeBytes);
  await disk.read(0, read);
  assert.ok(read.equals(expected));
  await disk.close();
  assert.ok(readFileSync(path('new')).equals(expected));
  assert.ok(statSync(path('new')).blocks * 512 < 2 * MIB, 'holes are holes');
  const again = await openRawDisk(path('new'));
  const data = (await extentsOf(again)).filter(({ kind }) => kind === 'data');
  const covered = data.reduce((sum, { length }) => sum + length, 0);
  assert.ok(covered >= MIB + 100 && covered < 2 * MIB);
  await again.close();
});

test('writes of any place and size arrive, aligned or not', async () => {
  const disk = await createRawDisk(path('places'), MIB);
  const expected = Buffer.alloc(MIB);
  const random = seededRandom(3);
  for (let round = 0; round < 60; round++) {
    const align = round % 2 === 0 ? 4096 : 1;
    const offset = Math.floor((random.fraction() * 900_000) / align) * align;
    const length = Math.ceil((random.fraction() * 100_000) / align) * align;
    const bytes = random.bytes(Math.min(length, MIB - offset));
    await disk.write(offset, bytes);
    bytes.copy(expected, offset);
  }
  await disk.flush();
  await disk.close();
  assert.ok(readFileSync(path('places')).equals(expected));
});

test('a file without a hole, an empty file and one of holes only have extents too', async () => {
  writeFileSync(path('full'), Buffer.alloc(100_000, 1));
  writeFileSync(path('empty'), '');
  writeFileSync(path('holes'), '');
  truncateSync(path('holes'), 64 * MIB);
  const kinds = async (name: string): Promise<string[]> => {
    const disk = await openRawDisk(path(name));
    const extents = await extentsOf(disk);
    await disk.close();
    return extents.map(({ kind }) => kind);
  };
  assert.deepEqual(await kinds('full'), ['data']);
  assert.deepEqual(await kinds('empty'), []);
  assert.deepEqual(await kinds('holes'), ['zero']);
});

test('a disk that became shorter is a change, not zeroes', async () => {
  writeFileSync(path('shorter'), Buffer.alloc(MIB, 1));
  const disk = await openRawDisk(path('shorter'));
  truncateSync(path('shorter'), 1000);
  await assert.rejects(disk.read(0, Buffer.alloc(MIB)), fails('source-changed'));
  await disk.close();
});

test('what is no disk is refused with its code', async () => {
  mkdirSync(path('folder'));
  await assert.rejects(openRawDisk(path('none')), fails('source-not-found'));
  await assert.rejects(openRawDisk(path('folder')), fails('source-unreadable'));
  await assert.rejects(openWritableRawDisk(path('none')), fails('target-unwritable'));
  await assert.rejects(openWritableRawDisk(path('folder')), fails('target-unwritable'));
  writeFileSync(path('there'), 'x');
  await assert.rejects(createRawDisk(path('there'), 10), fails('target-unwritable'));
  assert.equal(readFileSync(path('there'), 'utf8'), 'x');
});

test('a block device is read and written whole', (context) => {
  const device = loopDevice(path('device'));
  if (device === undefined) {
    context.skip('needs root and a free loop device');
    return undefined;
  }
  return (async () => {
    try {
      const disk = await openWritableRawDisk(device);
      assert.equal(disk.sizeBytes, 4 * MIB);
      assert.deepEqual(await extentsOf(disk), [{ offset: 0, length: 4 * MIB, kind: 'data' }]);
      const bytes = seededRandom(4).bytes(10_000);
      await disk.write(MIB + 1, bytes);
      await disk.zero(0, MIB);
      await disk.flush();
      const read = Buffer.alloc(10_000);
      await disk.read(MIB + 1, read);
      assert.ok(read.equals(bytes));
      await disk.close();
    } finally {
      execFileSync('losetup', ['-d', device]);
    }
  })();
});

/** Undefined where there is none to be had. */
function loopDevice(image: string): string | undefined {
  writeFileSync(image, Buffer.alloc(4 * MIB, 7));
  try {
    const found = execFileSync('losetup', ['-f', '--show', image], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return found.toString().trim();
  } catch {
    return undefined;
  }
}
