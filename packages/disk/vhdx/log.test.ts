// The log: which of its entries are replayed, and that qemu replays what was written to it alike.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isCofferError, seededRandom, systemRandom } from '@coffer/base';
import { assertHolds } from '../testing/contract.ts';
import { createVhdx } from './create.ts';
import { randomGuid, ZERO_GUID } from '../guid-codec.ts';
import type { Header } from './header-codec.ts';
import { readHeader } from './image.ts';
import { encodeLogEntry } from './log-entry-codec.ts';
import { activeSequence } from './log-sequence.ts';
import { replayOf } from './replay.ts';
import { MemoryFile } from './testing/memory-file.ts';
import { BAT_OFFSET, LOG_OFFSET, patchHeaders, seal } from './testing/patch.ts';
import { openVhdx, openWritableVhdx } from './vhdx.ts';
import { openWritableIn } from './writable-disk.ts';

const MIB = 1024 * 1024;
const SECTOR_BYTES = 4096;
const PLACE = { path: 'image.vhdx', structure: 'log', offset: MIB };
const random = seededRandom(31);
const logGuid = randomGuid(random);
const folder = mkdtempSync(join(tmpdir(), 'coffer-vhdx-log-'));
after(() => rmSync(folder, { recursive: true }));

interface Written {
  /** In sectors of the log. */
  readonly at: number;
  readonly tail: number;
  readonly number: number;
  readonly guid?: string;
  readonly updateCount?: number;
}

/** A log with entries, each of which says its number in the first sectors of the file. */
function logOf(entries: readonly Written[]): Buffer {
  const log = Buffer.alloc(MIB);
  for (const { at, tail, number, guid = logGuid, updateCount = 1 } of entries) {
    const bytes = encodeLogEntry(
      {
        tail: tail * SECTOR_BYTES,
        sequenceNumber: BigInt(number),
        logGuid: guid,
        flushedFileOffset: 4 * MIB,
        lastFileOffset: 5 * MIB,
      },
      Array.from({ length: updateCount }, (_, index) => ({
        fileOffset: (number * 200 + index) * SECTOR_BYTES,
        bytes: Buffer.alloc(SECTOR_BYTES, number),
      })),
    );
    const rest = log.length - at * SECTOR_BYTES;
    bytes.copy(log, at * SECTOR_BYTES);
    if (bytes.length > rest) bytes.copy(log, 0, rest);
  }
  return log;
}

function numbersOf(log: Buffer): number[] {
  return activeSequence(log, logGuid, PLACE).map(({ header }) => Number(header.sequenceNumber));
}

function isDamaged(error: unknown): boolean {
  return isCofferError(error, 'image-damaged') && error.details['structure'] === 'log';
}

test('the newest sequence is replayed, from the entry that its last one names', () => {
  const two = [
    { at: 0, tail: 0, number: 5 },
    { at: 2, tail: 0, number: 6 },
  ];
  assert.deepEqual(numbersOf(logOf(two)), [5, 6]);
  assert.deepEqual(numbersOf(logOf([two[0]!, { at: 2, tail: 2, number: 6 }])), [6]);
  const apart = [
    { at: 0, tail: 0, number: 7 },
    { at: 128, tail: 128, number: 3 },
  ];
  assert.deepEqual(numbersOf(logOf(apart)), [7]);
  assert.deepEqual(numbersOf(logOf([{ at: 77, tail: 77, number: 1 }])), [1]);
  // They follow each other in place, but were not written one after the other.
  const gap = [
    { at: 0, tail: 0, number: 5 },
    { at: 2, tail: 2, number: 9 },
  ];
  assert.deepEqual(numbersOf(logOf(gap)), [9]);
});

test('a sequence goes on at the beginning of the log', () => {
  const log = logOf([
    { at: 250, tail: 250, number: 11, updateCount: 3 },
    { at: 254, tail: 250, number: 12, updateCount: 5 },
    { at: 4, tail: 250, number: 13 },
  ]);
  assert.deepEqual(numbersOf(log), [11, 12, 13]);
});

test('an entry that is torn, or of another time, does not count', () => {
  const log = logOf([
    { at: 0, tail: 0, number: 5 },
    { at: 128, tail: 128, number: 6 },
  ]);
  log[129 * SECTOR_BYTES + 100]! ^= 1;
  assert.deepEqual(numbersOf(log), [5]);
  const foreign = { at: 0, tail: 0, number: 5, guid: randomGuid(random) };
  assert.deepEqual(numbersOf(logOf([foreign, { at: 9, tail: 9, number: 1 }])), [1]);
});

test('a log in which nothing is whole is damaged', () => {
  for (const log of [
    Buffer.alloc(MIB),
    random.bytes(MIB),
    logOf([{ at: 0, tail: 0, number: 5, guid: randomGuid(random) }]),
    // The sequence is said to begin at what is no part of it.
    logOf([{ at: 0, tail: 50, number: 5 }]),
    logOf([{ at: 0, tail: 200, number: 5 }]),
  ]) {
    assert.throws(() => activeSequence(log, logGuid, PLACE), isDamaged);
  }
});

test('entries that lie in each other are not looked at for ever', () => {
  const log = Buffer.alloc(32 * MIB);
  const entry = logOf([{ at: 0, tail: 0, number: 1 }]).subarray(0, 64);
  entry.writeUInt32LE(log.length, 8);
  for (let at = 0; at < log.length; at += SECTOR_BYTES) entry.copy(log, at);
  const begin = process.cpuUsage();
  assert.throws(() => activeSequence(log, logGuid, PLACE), isDamaged);
  // Each with all of the others would take a hundred times as long.
  assert.ok(process.cpuUsage(begin).user < 30e6);
});

test('zeroes of the log are replayed, within bounds, and the file is not cut', () => {
  const zeroing = (length: number, fileOffset: number): Buffer => {
    const log = logOf([{ at: 0, tail: 0, number: 1 }]);
    const entry = log.subarray(0, 2 * SECTOR_BYTES);
    entry.write('zero', 64, 'latin1');
    entry.writeBigUInt64LE(BigInt(length), 64 + 8);
    entry.writeBigUInt64LE(BigInt(fileOffset), 64 + 16);
    entry.fill(0, 64 + 4, 64 + 8);
    seal(entry);
    return log;
  };
  const replay = (log: Buffer, sizeBytes: number): ReturnType<typeof replayOf> =>
    replayOf(activeSequence(log, logGuid, PLACE), sizeBytes, PLACE);
  const { sectors, sizeBytes } = replay(zeroing(3 * SECTOR_BYTES, 6 * MIB), 4 * MIB);
  assert.deepEqual(
    [...sectors.keys()],
    [0, 1, 2].map((index) => 6 * MIB + index * SECTOR_BYTES),
  );
  assert.ok([...sectors.values()].every((bytes) => bytes.equals(Buffer.alloc(SECTOR_BYTES))));
  assert.equal(sizeBytes, 6 * MIB + 3 * SECTOR_BYTES);
  assert.throws(() => replay(zeroing(3 * SECTOR_BYTES, 6 * MIB), 3 * MIB), isDamaged);
  assert.throws(() => replay(zeroing(2 ** 40, 6 * MIB), 4 * MIB), isDamaged);
  assert.throws(() => replay(zeroing(SECTOR_BYTES, 2 ** 60), 4 * MIB), isDamaged);
  assert.throws(() => replay(zeroing(100, 6 * MIB), 4 * MIB), isDamaged);
});

/** An image whose last changes are in the log, and not in their place yet. */
async function withLog(path: string, expected: Buffer): Promise<void> {
  const sizeBytes = expected.length;
  const disk = await createVhdx(path, { subformat: 'dynamic', sizeBytes, random: systemRandom });
  await disk.close();
  const start = readFileSync(path);
  const file = new MemoryFile(Buffer.from(start));
  const writable = await openWritableIn(path, file, systemRandom);
  for (const offset of [0, 4 * MIB, sizeBytes - 70_000]) {
    const bytes = random.bytes(70_000);
    await writable.write(offset, bytes);
    bytes.copy(expected, offset);
  }
  await writable.flush();
  const isApplied = file.events.findIndex(
    (event) =>
      event.kind === 'write' && event.offset >= BAT_OFFSET && event.offset < BAT_OFFSET + MIB,
  );
  assert.ok(isApplied > 0);
  const stopped = new MemoryFile(start);
  for (const event of file.events.slice(0, isApplied)) stopped.apply(event);
  writeFileSync(path, stopped.bytes);
}

test('qemu replays our log, and finds what we find by replaying it in memory', async () => {
  const [path, raw] = [join(folder, 'ours.vhdx'), join(folder, 'expected.raw')];
  const expected = Buffer.alloc(9 * MIB);
  await withLog(path, expected);
  const disk = await openVhdx(path);
  await assertHolds(disk, expected, random);
  await disk.close();
  writeFileSync(raw, expected);
  const refused = spawnSync('qemu-img', ['check', '-f', 'vhdx', path], { encoding: 'utf8' });
  assert.match(refused.stderr, /log that needs to be replayed/);
  spawnSync('qemu-img', ['check', '-r', 'all', '-f', 'vhdx', path], { encoding: 'utf8' });
  const args = ['compare', '-f', 'vhdx', '-F', 'raw', path, raw];
  assert.match(execFileSync('qemu-img', args, { encoding: 'utf8' }), /identical/);
});

test('a log is replayed into a file that is opened for writing, and is empty then', async () => {
  const [path, raw] = [join(folder, 'replayed.vhdx'), join(folder, 'replayed.raw')];
  const expected = Buffer.alloc(9 * MIB);
  await withLog(path, expected);
  const before = await headerOf(path);
  const disk = await openWritableVhdx(path, { random: systemRandom });
  await assertHolds(disk, expected, random);
  await disk.close();
  const header = await headerOf(path);
  assert.equal(header.logGuid, ZERO_GUID);
  assert.notEqual(header.fileWriteGuid, before.fileWriteGuid);
  assert.equal(header.dataWriteGuid, before.dataWriteGuid, 'the disk holds what it held');
  writeFileSync(raw, expected);
  const args = ['compare', '-f', 'vhdx', '-F', 'raw', path, raw];
  assert.match(execFileSync('qemu-img', args, { encoding: 'utf8' }), /identical/);
});

test('an image whose log is damaged is not opened, to read or to write', async () => {
  const path = join(folder, 'damaged.vhdx');
  await withLog(path, Buffer.alloc(9 * MIB));
  const image = readFileSync(path);
  image[LOG_OFFSET + 500]! ^= 1;
  writeFileSync(path, image);
  await assert.rejects(openVhdx(path), isDamaged);
  await assert.rejects(openWritableVhdx(path, { random }), isDamaged);
  assert.ok(readFileSync(path).equals(image), 'nothing was written');
  patchHeaders(image, (header) => header.writeUInt16LE(7, 64));
  writeFileSync(path, image);
  await assert.rejects(openVhdx(path), (error) => isCofferError(error, 'image-unsupported'));
});

async function headerOf(path: string): Promise<Header> {
  const { header } = await readHeader(path, new MemoryFile(readFileSync(path)));
  return header;
}
