// Images with random changes, mostly with right checksums: none of them may do harm.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CofferError, type Random, seededRandom } from '@coffer/base';
import { openParents } from './chain.ts';
import { HEADER_OFFSETS } from './header-codec.ts';
import { imageIn } from './image.ts';
import { REGION_TABLE_OFFSETS } from './region-table-codec.ts';
import { MemoryFile } from './testing/memory-file.ts';
import {
  BAT_OFFSET,
  ITEMS_OFFSET,
  LOG_OFFSET,
  METADATA_OFFSET,
  patchHeaders,
  patchRegionTables,
  seal,
} from './testing/patch.ts';
import { makeSamples, readLayers, type Samples } from './testing/samples.ts';
import { openWritableIn } from './writable-disk.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const folder = mkdtempSync(join(tmpdir(), 'coffer-vhdx-mutation-'));
const path = join(folder, 'child.avhdx');
let samples: Samples;
before(async () => {
  samples = await makeSamples(path);
});
after(() => rmSync(folder, { recursive: true }));

/** Where a mutation may be: all structures, and with less weight the data. */
const STRUCTURES = [
  { offset: 0, length: 600 },
  { offset: 64 * KIB, length: 80 },
  { offset: 128 * KIB, length: 80 },
  { offset: 192 * KIB, length: 96 },
  { offset: 256 * KIB, length: 96 },
  { offset: LOG_OFFSET, length: 300 },
  { offset: LOG_OFFSET, length: 16 * KIB },
  { offset: LOG_OFFSET + MIB / 2, length: 16 * KIB },
  { offset: METADATA_OFFSET, length: 256 },
  { offset: ITEMS_OFFSET, length: 500 },
  { offset: BAT_OFFSET, length: 40 },
  { offset: BAT_OFFSET + 2048 * 8, length: 8 },
  { offset: 4 * MIB, length: 3 * MIB },
];

/** What has a checksum. */
const SEALED = [...HEADER_OFFSETS, ...REGION_TABLE_OFFSETS, LOG_OFFSET, LOG_OFFSET + MIB / 2];

/** Changes some bytes, mostly makes the checksums right again, and returns how to undo it. */
function mutate(image: Buffer, random: Random): () => void {
  const pick = <T>(values: readonly T[]): T =>
    values[Math.floor(random.fraction() * values.length)]!;
  const undo: (() => void)[] = [];
  const change = (at: number, write: () => void): void => {
    const before = Buffer.from(image.subarray(at, at + 8));
    undo.push(() => before.copy(image, at));
    write();
  };
  for (let count = 1 + Math.floor(random.fraction() * 3); count > 0; count--) {
    const { offset, length } = pick(STRUCTURES);
    const at = Math.min(offset + Math.floor(random.fraction() * length), image.length - 8);
    const value = pick([0n, 1n, 0xffn, 0xffff_ffffn, 2n ** 64n - 1n, 1n << 20n, 6n, 7n, 1n << 40n]);
    change(at, () => {
      if (random.fraction() < 0.5) image[at]! ^= 1 << Math.floor(random.fraction() * 8);
      else image.writeBigUInt64LE(value, at);
    });
  }
  if (random.fraction() < 0.8) {
    for (const sealed of SEALED) change(sealed, () => {});
    sealAll(image);
  }
  return () => undo.toReversed().forEach((step) => step());
}

function sealAll(image: Buffer): void {
  patchHeaders(image, () => {});
  patchRegionTables(image, () => {});
  for (const at of [LOG_OFFSET, LOG_OFFSET + MIB / 2]) {
    const length = Math.min(image.readUInt32LE(at + 8), MIB / 2);
    if (length >= 64) seal(image.subarray(at, at + length));
  }
}

function imagesOf({ dynamic, differencing, unclean }: Samples): [string, Buffer][] {
  return Object.entries({ dynamic, differencing, unclean });
}

test('mutated images are read, or refused with a code; memory and time are bounded', async () => {
  const begin = process.cpuUsage();
  for (const [name, original] of imagesOf(samples)) {
    const image = Buffer.from(original);
    const random = seededRandom(name.length);
    for (let round = 0; round < 700; round++) {
      const undo = mutate(image, random);
      await assertCofferErrorOnly(async () => {
        const read = await imageIn(path, new MemoryFile(image));
        // To look for the parent takes most of the time.
        const parents = round % 10 === 0 ? await openParents(read) : [];
        await readLayers([read, ...parents], 8000);
      }, `${name}, round ${round}`);
      undo();
    }
    assert.ok(image.equals(original));
  }
  // Of the processor, since others may use it as well.
  assert.ok(process.cpuUsage(begin).user < 60e6);
});

test('mutated images are written to, or refused with a code', async () => {
  for (const [name, original] of imagesOf(samples)) {
    const random = seededRandom(name.length + 1);
    for (let round = 0; round < 60; round++) {
      const image = Buffer.from(original);
      mutate(image, random);
      await assertCofferErrorOnly(async () => {
        const file = new MemoryFile(image);
        const disk = await openWritableIn(path, file, random);
        try {
          await disk.write(0, random.bytes(512));
          await disk.zero(100, 100);
        } finally {
          await disk.close();
        }
      }, `${name}, round ${round}`);
    }
  }
});

async function assertCofferErrorOnly(task: () => Promise<void>, name: string): Promise<void> {
  try {
    await task();
  } catch (error) {
    assert.ok(
      error instanceof CofferError,
      `${name}: ${error instanceof Error ? error.stack : ''}`,
    );
  }
}
