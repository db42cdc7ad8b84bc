// What an image holds when the machine stops: at any moment, with any of the writes that were not made
// durable lost, or made in part.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isCofferError, type Random, seededRandom } from '@coffer/base';
import type { Disk, WritableDisk } from '../disk.ts';
import { openParents } from './chain.ts';
import { ChainedDisk } from './chained-disk.ts';
import { createVhdx } from './create.ts';
import { createDifferencingVhdx } from './testing/differencing.ts';
import { HeaderWriter } from './header-writer.ts';
import { imageIn, readHeader, readLog } from './image.ts';
import { openImageFile } from './image-file.ts';
import { Layer } from './layer.ts';
import { MetadataLog } from './metadata-log.ts';
import { ReplayedFile } from './replay.ts';
import { afterCrash, MemoryFile } from './testing/memory-file.ts';
import { StoppingFile } from './testing/stopping-file.ts';
import { openVhdx } from './vhdx.ts';
import { openWritableIn } from './writable-disk.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 5 * MIB + 512;
const SECTOR_BYTES = 512;
const STEP_COUNT = 12;
const CRASH_COUNT = 40;
const folder = mkdtempSync(join(tmpdir(), 'coffer-vhdx-crash-'));
let startCount = 0;
after(() => rmSync(folder, { recursive: true }));

interface Start {
  readonly path: string;
  readonly image: Buffer;
  readonly content: Buffer;
}

/** What the disk holds after a step, and how many events of the file there were then. */
interface Version {
  readonly content: Buffer;
  readonly eventCount: number;
  readonly isFlushed: boolean;
}

/** Parents are files; the image itself is taken into memory. */
async function startOf(kind: 'dynamic' | 'differencing', random: Random): Promise<Start> {
  const path = join(folder, `${startCount++}.vhdx`);
  const content = Buffer.alloc(SIZE_BYTES);
  const options = {
    subformat: 'dynamic',
    sizeBytes: SIZE_BYTES,
    blockSizeBytes: MIB,
    random,
  } as const;
  if (kind === 'dynamic') {
    await (await createVhdx(path, options)).close();
  } else {
    const parent = await createVhdx(`${path}.base`, options);
    random.bytes(3 * MIB).copy(content, MIB / 3);
    await parent.write(0, content);
    await parent.close();
    await (await createDifferencingVhdx(path, `${path}.base`, { random })).close();
  }
  return { path, image: readFileSync(path), content };
}

async function change(disk: WritableDisk, content: Buffer, random: Random): Promise<void> {
  const align = random.fraction() < 0.5 ? SECTOR_BYTES : 1;
  const lengthMax = random.fraction() < 0.5 ? 3000 : 1_500_000;
  const length = Math.ceil((random.fraction() * lengthMax) / align) * align;
  const offset = Math.floor((random.fraction() * (SIZE_BYTES - length)) / align) * align;
  if (random.fraction() < 0.25) {
    content.fill(0, offset, offset + length);
    await disk.zero(offset, length);
  } else {
    const bytes = random.bytes(length);
    bytes.copy(content, offset);
    await disk.write(offset, bytes);
  }
}

async function flushes(disk: WritableDisk): Promise<void> {
  for (let count = 0; count < 8; count++) await disk.flush();
}

/** Changes and flushes; the disk is closed in the end. */
async function play(file: MemoryFile, start: Start, random: Random): Promise<Version[]> {
  const disk = await openWritableIn(start.path, file, random);
  const content = Buffer.from(start.content);
  const versions = [{ content: start.content, eventCount: 0, isFlushed: true }];
  for (let step = 0; step < STEP_COUNT; step++) {
    // A flush that runs beside a write holds all of what was before it, and any of the write.
    const isRacing = random.fraction() < 0.3;
    if (isRacing) await Promise.all([change(disk, content, random), flushes(disk)]);
    else await change(disk, content, random);
    const isFlushed = random.fraction() < 0.4;
    if (isFlushed) await disk.flush();
    versions.push({ content: Buffer.from(content), eventCount: file.events.length, isFlushed });
  }
  await disk.close();
  versions.push({ content, eventCount: file.events.length, isFlushed: true });
  return versions;
}

async function opened(path: string, image: Buffer): Promise<Disk> {
  const read = await imageIn(path, new MemoryFile(image));
  const parents = await openParents(read);
  return new ChainedDisk([new Layer(read), ...parents.map((parent) => new Layer(parent))]);
}

/** Each sector is as it was at the last flush before the crash, or as it became after that. */
function assertAcceptable(actual: Buffer, versions: readonly Version[], eventCount: number): void {
  const next = versions.findIndex((version) => version.eventCount >= eventCount);
  const flushed = versions.findLastIndex(
    (version) => version.isFlushed && version.eventCount <= eventCount,
  );
  const possible = versions.slice(flushed, next + 1);
  for (let at = 0; at < SIZE_BYTES; at += SECTOR_BYTES) {
    const sector = actual.subarray(at, at + SECTOR_BYTES);
    const isPossible = possible.some(({ content }) =>
      content.subarray(at, at + SECTOR_BYTES).equals(sector),
    );
    assert.ok(
      isPossible,
      `the sector at ${at} is not as it was flushed, after ${eventCount} events`,
    );
  }
}

for (const kind of ['dynamic', 'differencing'] as const) {
  for (const seed of [1, 2]) {
    test(`a crash leaves a valid ${kind} image with all that was flushed (seed ${seed})`, async () => {
      const random = seededRandom(seed);
      const start = await startOf(kind, random);
      const file = new MemoryFile(Buffer.from(start.image));
      const versions = await play(file, start, random);
      for (let crash = 0; crash < CRASH_COUNT; crash++) {
        const eventCount = Math.floor(random.fraction() * (file.events.length + 1));
        const image = afterCrash(start.image, file.events.slice(0, eventCount), random);
        const disk = await opened(start.path, image);
        const actual = Buffer.alloc(SIZE_BYTES);
        await disk.read(0, actual);
        await disk.close();
        assertAcceptable(actual, versions, eventCount);
        if (crash % 5 === 0) await assertGoesOn(start.path, image, actual, random);
      }
    });
  }
}

/** The log is replayed into the file, which is then written to as if nothing had happened. */
async function assertGoesOn(
  path: string,
  image: Buffer,
  content: Buffer,
  random: Random,
): Promise<void> {
  const file = new MemoryFile(Buffer.from(image));
  const disk = await openWritableIn(path, file, random);
  await change(disk, content, random);
  await disk.close();
  const again = await opened(path, file.bytes);
  const actual = Buffer.alloc(SIZE_BYTES);
  await again.read(0, actual);
  await again.close();
  assert.ok(actual.equals(content));
}

test('changes of more sectors than an entry holds become durable in their order', async () => {
  const random = seededRandom(8);
  const { path, image } = await startOf('dynamic', random);
  const file = new MemoryFile(Buffer.from(image));
  const headers = new HeaderWriter(path, file, await readHeader(path, file), random);
  const log = new MetadataLog(path, file, headers, random);
  const sectors = Array.from({ length: 256 }, (_, index) => ({
    fileOffset: 3 * MIB + ((index * 7) % 256) * 4096,
    bytes: random.bytes(4096),
  }));
  await file.resize(4 * MIB);
  await log.commit(sectors);
  for (let crash = 0; crash < 80; crash++) {
    const eventCount = Math.floor(random.fraction() * (file.events.length + 1));
    const left = new MemoryFile(afterCrash(image, file.events.slice(0, eventCount), random));
    const replay = await readLog(path, left, (await readHeader(path, left)).header);
    const after = replay ? new ReplayedFile(left, replay) : left;
    const isChanged: boolean[] = [];
    for (const { fileOffset, bytes } of sectors) {
      const sector = Buffer.alloc(4096);
      await after.read(fileOffset, sector);
      isChanged.push(sector.equals(bytes));
    }
    const count = isChanged.indexOf(false) < 0 ? sectors.length : isChanged.indexOf(false);
    assert.ok(!isChanged.slice(count).includes(true), 'none before one that is earlier');
    if (eventCount === file.events.length) assert.equal(count, sectors.length);
  }
});

test('a block never needs a sector bitmap that a later entry of the log provides', async () => {
  const random = seededRandom(9);
  const chunkBytes = 4096 * MIB;
  const chunkCount = 71;
  const options = { subformat: 'dynamic', sizeBytes: chunkCount * chunkBytes, random } as const;
  const base = join(folder, 'chunks.vhdx');
  await (await createVhdx(base, options)).close();
  const path = join(folder, 'chunks.avhdx');
  const bytes = Buffer.from('x');
  // One commit of 213 sectors: a stop at some steps of it, and of what comes before and after.
  for (let stepCount = 140; ; stepCount += 29) {
    rmSync(path, { force: true });
    await (await createDifferencingVhdx(path, base, { random })).close();
    const file = new StoppingFile(await openImageFile(path), stepCount);
    const disk = await openWritableIn(path, file, random);
    try {
      for (let chunk = 0; chunk < chunkCount; chunk++) await disk.write(chunk * chunkBytes, bytes);
      await disk.flush();
    } catch (error) {
      assert.ok(isCofferError(error, 'target-unwritable'));
    }
    await disk.close().catch(() => undefined);
    await (await openVhdx(path)).close();
    if (!file.hasStopped) return;
  }
});
