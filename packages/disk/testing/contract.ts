/**
 * The contract of disks as tests, which every disk runs. A writable disk is compared with a buffer
 * of the same writes; a readable one with the bytes that it was made from.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Random, seededRandom } from '@coffer/base';
import type { ByteRange, Disk, Extent, WritableDisk } from '../disk.ts';

export interface OpenedDisk<D extends Disk> {
  readonly disk: D;
  /** Opens what was written again, where the disk outlives its closing. */
  readonly reopen?: () => Promise<Disk>;
}

const ROUNDS = 120;

/** Reads a disk that holds `expected`, in every way that the contract allows. */
export function diskContract(
  name: string,
  open: () => Promise<{ readonly disk: Disk; readonly expected: Buffer }>,
): void {
  test(`${name}: reads what it holds, and tells its extents`, async () => {
    const { disk, expected } = await open();
    try {
      assert.equal(disk.sizeBytes, expected.length);
      await assertHolds(disk, expected, seededRandom(1));
    } finally {
      await disk.close();
    }
  });
}

/** Writes at random places of a disk of zeroes, and compares after it was opened again, too. */
export function writableDiskContract(
  name: string,
  create: (sizeBytes: number) => Promise<OpenedDisk<WritableDisk>>,
  sizeBytes = 12 * 1024 * 1024,
): void {
  for (const seed of [1, 2, 3]) {
    test(`${name}: holds what was written at random places (seed ${seed})`, async () => {
      const { disk, reopen } = await create(sizeBytes);
      const expected = Buffer.alloc(disk.sizeBytes);
      try {
        await writeAtRandom(disk, expected, seededRandom(seed));
        await disk.flush();
        await assertHolds(disk, expected, seededRandom(seed));
      } finally {
        await disk.close();
      }
      if (!reopen) return;
      const again = await reopen();
      try {
        await assertHolds(again, expected, seededRandom(seed));
      } finally {
        await again.close();
      }
    });
  }

  test(`${name}: writes of different places at once all arrive`, async () => {
    const { disk } = await create(sizeBytes);
    const expected = seededRandom(9).bytes(disk.sizeBytes);
    try {
      const step = 100_000;
      const writes: Promise<void>[] = [];
      for (let offset = 0; offset < expected.length; offset += step) {
        writes.push(disk.write(offset, expected.subarray(offset, offset + step)));
      }
      await Promise.all(writes);
      await disk.flush();
      await assertHolds(disk, expected, seededRandom(9));
    } finally {
      await disk.close();
    }
  });
}

/** Changes the disk and the buffer alike. */
export async function writeAtRandom(
  disk: WritableDisk,
  expected: Buffer,
  random: Random,
  rounds = ROUNDS,
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const { offset, length } = randomRange(random, expected.length);
    if (random.fraction() < 0.3) {
      await disk.zero(offset, length);
      expected.fill(0, offset, offset + length);
    } else {
      const bytes = random.bytes(length);
      await disk.write(offset, bytes);
      bytes.copy(expected, offset);
    }
  }
}

/** Compares the whole disk, parts of it, and its extents, with what it has to hold. */
export async function assertHolds(disk: Disk, expected: Buffer, random: Random): Promise<void> {
  const whole = Buffer.alloc(expected.length, 0xee);
  await disk.read(0, whole);
  assertSame(whole, expected, 0);
  for (let round = 0; round < ROUNDS / 4; round++) {
    const { offset, length } = randomRange(random, expected.length);
    const part = Buffer.alloc(length, 0xee);
    await disk.read(offset, part);
    assertSame(part, expected.subarray(offset, offset + length), offset);
  }
  await assertExtents(disk, { offset: 0, length: expected.length }, expected);
  for (let round = 0; round < 10; round++) {
    await assertExtents(disk, randomRange(random, expected.length), expected);
  }
}

/** Extents follow each other, end with the range, and what is said to be zero is. */
async function assertExtents(disk: Disk, range: ByteRange, expected: Buffer): Promise<void> {
  const extents: Extent[] = [];
  for await (const extent of disk.extents(range)) extents.push(extent);
  let end = range.offset;
  for (const { offset, length, kind } of extents) {
    assert.equal(offset, end, 'extents have no gaps');
    assert.ok(length > 0, 'an extent is not empty');
    end += length;
    if (kind === 'zero') assert.ok(isZero(expected.subarray(offset, end)), `zeroes at ${offset}`);
  }
  assert.equal(end, range.offset + range.length, 'extents cover the range');
}

function isZero(bytes: Buffer): boolean {
  return bytes.equals(Buffer.alloc(bytes.length));
}

/** Says where, since a diff of megabytes says nothing. */
function assertSame(actual: Buffer, expected: Buffer, offset: number): void {
  if (actual.equals(expected)) return;
  const first = actual.findIndex((byte, index) => byte !== expected[index]);
  assert.fail(`differs at byte ${offset + first}: ${actual[first]} instead of ${expected[first]}`);
}

/** Sometimes small, sometimes large, sometimes aligned, sometimes at the very end. */
function randomRange(random: Random, sizeBytes: number): ByteRange {
  const lengthMax = [600, 70_000, 3_000_000][Math.floor(random.fraction() * 3)]!;
  const align = random.fraction() < 0.5 ? 512 : 1;
  const wanted = Math.ceil((random.fraction() * lengthMax) / align) * align;
  const length = Math.max(1, Math.min(wanted, sizeBytes));
  if (random.fraction() < 0.1) return { offset: sizeBytes - length, length };
  const place = Math.floor((random.fraction() * (sizeBytes - length)) / align) * align;
  return { offset: place, length };
}
