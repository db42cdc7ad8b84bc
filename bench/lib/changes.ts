// Writes 1 % of a disk's data as scattered 4 KiB writes, and takes them back.
//
// Invariant: the changes are written only after the bytes they replace are safe in an undo file,
// so that an interrupted benchmark leaves an image that the next run makes whole again.
import * as fs from 'node:fs';
import { seededRandom } from './random.ts';

const BLOCK_SIZE = 4096;
const READ_SIZE = 4 << 20;
const STAMP_SIZE = 16;

export interface Changes {
  blockCount: number;
  bytes: number;
}

/** Changes a share of the 4 KiB blocks that hold data; the same seed changes the same blocks. */
export function changeDisk(image: string, share: number, seed: number): Changes {
  revertDisk(image);
  const random = seededRandom(seed);
  const file = fs.openSync(image, 'r+');
  const data = dataBlocks(file);
  const count = Math.floor(data.length * share);
  const chosen = distinct(count, data.length, random).map((index) => data[index]!);
  writeUndo(image, file, chosen);
  const block = Buffer.alloc(BLOCK_SIZE);
  for (const blockIndex of chosen) {
    // Bytes of another block, so that they compress as data does, made unique by a stamp.
    const model = data[Math.floor(random() * data.length)]!;
    fs.readSync(file, block, 0, BLOCK_SIZE, model * BLOCK_SIZE);
    for (let offset = 0; offset < STAMP_SIZE; offset++) block[offset] = Math.floor(random() * 256);
    fs.writeSync(file, block, 0, BLOCK_SIZE, blockIndex * BLOCK_SIZE);
  }
  fs.fsyncSync(file);
  fs.closeSync(file);
  return { blockCount: count, bytes: count * BLOCK_SIZE };
}

/** Makes the image what it was before `changeDisk`; does nothing to an unchanged image. */
export function revertDisk(image: string): void {
  const undo = undoPath(image);
  if (!fs.existsSync(undo)) return;
  const saved = fs.readFileSync(undo);
  const file = fs.openSync(image, 'r+');
  const recordSize = 8 + BLOCK_SIZE;
  for (let offset = 0; offset < saved.length; offset += recordSize) {
    const position = saved.readDoubleLE(offset);
    fs.writeSync(file, saved, offset + 8, BLOCK_SIZE, position);
  }
  fs.fsyncSync(file);
  fs.closeSync(file);
  fs.rmSync(undo);
}

function undoPath(image: string): string {
  return `${image}.undo`;
}

function writeUndo(image: string, file: number, blocks: number[]): void {
  const partial = `${undoPath(image)}.partial`;
  const undo = fs.openSync(partial, 'w');
  const record = Buffer.alloc(8 + BLOCK_SIZE);
  for (const blockIndex of blocks) {
    record.writeDoubleLE(blockIndex * BLOCK_SIZE);
    fs.readSync(file, record, 8, BLOCK_SIZE, blockIndex * BLOCK_SIZE);
    fs.writeSync(undo, record);
  }
  fs.fsyncSync(undo);
  fs.closeSync(undo);
  fs.renameSync(partial, undoPath(image));
}

/** The indexes of the blocks that are not all zero. */
function dataBlocks(file: number): number[] {
  const size = fs.fstatSync(file).size;
  const buffer = Buffer.alloc(READ_SIZE);
  const zeroes = Buffer.alloc(READ_SIZE);
  const found: number[] = [];
  for (let start = 0; start < size; start += READ_SIZE) {
    const count = fs.readSync(file, buffer, 0, READ_SIZE, start);
    if (buffer.compare(zeroes, 0, count, 0, count) === 0) continue;
    for (let offset = 0; offset + BLOCK_SIZE <= count; offset += BLOCK_SIZE) {
      const isZero = buffer.compare(zeroes, 0, BLOCK_SIZE, offset, offset + BLOCK_SIZE) === 0;
      if (!isZero) found.push((start + offset) / BLOCK_SIZE);
    }
  }
  return found;
}

function distinct(count: number, limit: number, random: () => number): number[] {
  const chosen = new Set<number>();
  while (chosen.size < count) chosen.add(Math.floor(random() * limit));
  return [...chosen];
}
