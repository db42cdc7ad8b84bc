import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { changeDisk, revertDisk } from './changes.ts';

const BLOCK_SIZE = 4096;
const BLOCK_COUNT = 2000;

test('changes the share of the data blocks, leaves holes alone, and takes all back', (context) => {
  const image = imageOfEverySecondBlock(context);
  const before = readFileSync(image);
  const { blockCount } = changeDisk(image, 0.1, 1);
  const after = readFileSync(image);
  assert.equal(blockCount, BLOCK_COUNT / 2 / 10);
  assert.equal(differingBlocks(before, after).length, blockCount);
  assert.ok(differingBlocks(before, after).every((blockIndex) => blockIndex % 2 === 0));
  revertDisk(image);
  assert.ok(readFileSync(image).equals(before));
});

test('the same seed changes the same bytes, whatever was changed before', (context) => {
  const image = imageOfEverySecondBlock(context);
  changeDisk(image, 0.1, 1);
  const first = readFileSync(image);
  changeDisk(image, 0.1, 2);
  assert.ok(!readFileSync(image).equals(first));
  changeDisk(image, 0.1, 1);
  assert.ok(readFileSync(image).equals(first));
});

function imageOfEverySecondBlock(context: { after(done: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'coffer-bench-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const bytes = Buffer.alloc(BLOCK_COUNT * BLOCK_SIZE);
  for (let blockIndex = 0; blockIndex < BLOCK_COUNT; blockIndex += 2) {
    bytes.fill(`block ${blockIndex} `, blockIndex * BLOCK_SIZE, (blockIndex + 1) * BLOCK_SIZE);
  }
  const image = join(folder, 'image');
  writeFileSync(image, bytes);
  return image;
}

function differingBlocks(one: Buffer, other: Buffer): number[] {
  return Array.from({ length: BLOCK_COUNT }, (_, blockIndex) => blockIndex).filter((blockIndex) => {
    const [start, end] = [blockIndex * BLOCK_SIZE, (blockIndex + 1) * BLOCK_SIZE];
    return !one.subarray(start, end).equals(other.subarray(start, end));
  });
}
