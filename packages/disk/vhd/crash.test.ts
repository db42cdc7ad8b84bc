// What an image holds when the machine stops: any moment, with any of the writes that were not made
// durable lost.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isCofferError, type Random, seededRandom, systemClock } from '@coffer/base';
import type { WritableDisk } from '../disk.ts';
import { openBlockVhd } from './block-vhd.ts';
import { createVhd } from './create.ts';
import { createDifferencingVhd } from './testing/differencing.ts';
import { readImage, type VhdImage } from './image.ts';
import { type FileEvent, MemoryFile } from './testing/memory-file.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 3 * MIB;
const SECTOR_BYTES = 512;
const STEP_COUNT = 30;
const SOURCES = { random: seededRandom(19), clock: systemClock };
const folder = mkdtempSync(join(tmpdir(), 'coffer-vhd-crash-'));
let startCount = 0;
after(() => rmSync(folder, { recursive: true }));

interface Start {
  readonly image: Buffer;
  readonly parent: Buffer | undefined;
  readonly content: Buffer;
}

/** What the disk holds after a step, and how many events of the file had been then. */
interface Version {
  readonly content: Buffer;
  readonly eventCount: number;
  readonly isFlushed: boolean;
}

async function startOf(name: 'dynamic' | 'differencing'): Promise<Start> {
  const path = join(folder, `${name}-${startCount++}`);
  const size = { sizeBytes: SIZE_BYTES, blockSizeBytes: MIB / 2 };
  const base = await createVhd(`${path}.base`, { ...SOURCES, ...size, subformat: 'dynamic' });
  const content = Buffer.alloc(SIZE_BYTES);
  if (name === 'differencing') SOURCES.random.bytes(MIB).copy(content, MIB / 3);
  await base.write(0, content);
  await base.close();
  const image = readFileSync(`${path}.base`);
  if (name === 'dynamic') return { image, parent: undefined, content };
  const child = await createDifferencingVhd(path, `${path}.base`, SOURCES);
  await child.close();
  return { image: readFileSync(path), parent: image, content };
}

async function parentsOf({ parent }: Start): Promise<VhdImage[]> {
  return parent ? [await readImage('parent.vhd', new MemoryFile(parent))] : [];
}

async function openedOver(file: MemoryFile, start: Start): Promise<WritableDisk> {
  return await openBlockVhd(await readImage('image.vhd', file), await parentsOf(start));
}

async function change(disk: WritableDisk, content: Buffer, random: Random): Promise<void> {
  const align = random.fraction() < 0.5 ? SECTOR_BYTES : 1;
  const lengthMax = random.fraction() < 0.5 ? 3000 : 900_000;
  const length = Math.ceil((random.fraction() * lengthMax) / align) * align;
  const offset = Math.floor((random.fraction() * (SIZE_BYTES - length)) / align) * align;
  if (random.fraction() < 0.25) {
    await disk.zero(offset, length);
    content.fill(0, offset, offset + length);
  } else {
    const bytes = random.bytes(length);
    await disk.write(offset, bytes);
    bytes.copy(content, offset);
  }
}

async function play(file: MemoryFile, start: Start, random: Random): Promise<Version[]> {
  const disk = await openedOver(file, start);
  const content = Buffer.from(start.content);
  const versions = [{ content: start.content, eventCount: 0, isFlushed: true }];
  for (let step = 0; step < STEP_COUNT; step++) {
    const isFlushed = random.fraction() < 0.2;
    if (isFlushed) await disk.flush();
    else await change(disk, content, random);
    const eventCount = file.events.length;
    versions.push({ content: Buffer.from(content), eventCount, isFlushed });
  }
  return versions;
}

/** Each sector is as at the last flush that had ended, or as at any step after it. */
async function assertHoldsOneOf(
  disk: WritableDisk,
  versions: readonly Version[],
  eventCount: number,
): Promise<void> {
  const ended = versions.findLastIndex((at) => at.isFlushed && at.eventCount <= eventCount);
  const begun = versions.findIndex((at) => at.eventCount > eventCount);
  const possible = versions.slice(ended, begun < 0 ? undefined : begun + 1);
  const actual = Buffer.alloc(SIZE_BYTES);
  await disk.read(0, actual);
  if (possible.some(({ content }) => content.equals(actual))) return;
  for (let at = 0; at < SIZE_BYTES; at += SECTOR_BYTES) {
    const same = possible.some(
      ({ content }) => content.compare(actual, at, at + SECTOR_BYTES, at, at + SECTOR_BYTES) === 0,
    );
    assert.ok(same, `sector at ${at} is as at no step, after ${eventCount} events`);
  }
}

/** The file after the first events; of those after the last flush, `arrives` says which are there. */
function crashed(
  image: Buffer,
  events: readonly FileEvent[],
  arrives: (event: FileEvent) => FileEvent | undefined,
): MemoryFile {
  const durable = events.findLastIndex(({ kind }) => kind === 'flush');
  const file = new MemoryFile(image);
  for (const [index, event] of events.entries()) {
    const arrived = index <= durable ? event : arrives(event);
    if (arrived) file.apply(arrived);
  }
  return file;
}

/** Some events are lost, and of some the end is. */
function someLost(random: Random): (event: FileEvent) => FileEvent | undefined {
  return (event) => {
    if (event.kind === 'flush' || random.fraction() < 0.4) return undefined;
    if (random.fraction() < 0.6) return event;
    const sectorCount = Math.floor((random.fraction() * event.bytes.length) / SECTOR_BYTES);
    return { ...event, bytes: event.bytes.subarray(0, sectorCount * SECTOR_BYTES) };
  };
}

for (const name of ['dynamic', 'differencing'] as const) {
  test(`a ${name} image holds what was flushed, wherever the machine stops`, async () => {
    const start = await startOf(name);
    for (const seed of [1, 2, 3]) {
      const random = seededRandom(seed);
      const file = new MemoryFile(start.image);
      const versions = await play(file, start, random);
      for (let count = 0; count <= file.events.length; count++) {
        const events = file.events.slice(0, count);
        const ways = [(event: FileEvent) => event, someLost(random), () => undefined];
        for (const arrives of ways) {
          const left = crashed(start.image, events, arrives);
          const disk = await openedOver(left, start);
          await assertHoldsOneOf(disk, versions, count);
        }
      }
    }
  });

  test(`a ${name} image that a crash left is written on`, async () => {
    const start = await startOf(name);
    const random = seededRandom(23);
    const file = new MemoryFile(start.image);
    await play(file, start, random);
    for (let round = 0; round < 20; round++) {
      const count = Math.floor(random.fraction() * file.events.length);
      const left = crashed(start.image, file.events.slice(0, count), someLost(random));
      const disk = await openedOver(left, start);
      const content = Buffer.alloc(SIZE_BYTES);
      await disk.read(0, content);
      for (let step = 0; step < 5; step++) await change(disk, content, random);
      await disk.flush();
      const again = await openedOver(new MemoryFile(left.bytes), start);
      const actual = Buffer.alloc(SIZE_BYTES);
      await again.read(0, actual);
      assert.ok(actual.equals(content), `round ${round}`);
    }
  });
}

test('while its writes arrive in order, an image always ends with a footer', async () => {
  const start = await startOf('dynamic');
  const file = new MemoryFile(start.image);
  await play(file, start, seededRandom(29));
  const left = new MemoryFile(start.image);
  for (const event of file.events) {
    left.apply(event);
    const { footerOffset } = await readImage('image.vhd', left);
    assert.ok(footerOffset !== undefined);
  }
});

test('a block whose data is under way while others are flushed reads as before', async () => {
  // With blocks of 16 MiB, the bitmap of a new block lies where a footer was.
  const size = { sizeBytes: 32 * MIB, blockSizeBytes: 16 * MIB };
  const [parent, path] = [join(folder, 'large.base'), join(folder, 'large')];
  const base = await createVhd(parent, { ...SOURCES, ...size, subformat: 'dynamic' });
  await base.write(0, Buffer.alloc(MIB, 7));
  await base.close();
  const child = await createDifferencingVhd(path, parent, SOURCES);
  await child.close();
  const start = {
    image: readFileSync(path),
    parent: readFileSync(parent),
    content: Buffer.alloc(0),
  };
  const file = new SlowFile(start.image);
  const disk = await openedOver(file, start);
  await disk.write(16 * MIB, Buffer.alloc(4096, 1));
  file.isSlow = true;
  const underWay = disk.write(0, Buffer.alloc(4096, 2));
  await new Promise((resolve) => setImmediate(resolve));
  await disk.flush();
  const left = await openedOver(new MemoryFile(file.bytes), start);
  const actual = Buffer.alloc(MIB);
  await left.read(0, actual);
  assert.ok(actual.equals(Buffer.alloc(MIB, 7)));
  file.go();
  await underWay;
});

/** Holds back the writes of data until it is told to go on. */
class SlowFile extends MemoryFile {
  readonly #waiting: (() => void)[] = [];
  isSlow = false;

  override async write(offset: number, bytes: Uint8Array): Promise<void> {
    if (this.isSlow && bytes[0] === 2) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    await super.write(offset, bytes);
  }

  go(): void {
    for (const resolve of this.#waiting) resolve();
  }
}

test('after a flush that failed, nothing is said to be durable', async () => {
  const start = await startOf('dynamic');
  class FailingFile extends MemoryFile {
    fails = false;
    override async flush(): Promise<void> {
      if (this.fails) throw new Error('no flush');
      await super.flush();
    }
  }
  const file = new FailingFile(start.image);
  const disk = await openedOver(file, start);
  await disk.write(0, Buffer.alloc(4096, 1));
  file.fails = true;
  await assert.rejects(disk.flush());
  file.fails = false;
  await assert.rejects(disk.flush());
  await assert.rejects(disk.close());
});

test('an image that exists is not written over, and sizes that the format lacks are told', async () => {
  const path = join(folder, 'new.vhd');
  const options = { ...SOURCES, sizeBytes: MIB, subformat: 'dynamic' } as const;
  const disk = await createVhd(path, options);
  await disk.close();
  const isExisting = (error: unknown): boolean => isCofferError(error, 'target-unwritable');
  await assert.rejects(createVhd(path, options), isExisting);
  await assert.rejects(createDifferencingVhd(path, path, SOURCES), isExisting);
  const unsupported = (error: unknown): boolean => isCofferError(error, 'image-unsupported');
  for (const sizeBytes of [0, 1000, -512, Number.NaN, 2040 * 1024 ** 3 + 512]) {
    await assert.rejects(createVhd(`${path}.2`, { ...options, sizeBytes }), unsupported);
  }
  for (const blockSizeBytes of [0, 1000, 256 * 1024, 3 * MIB, 2 ** 30]) {
    await assert.rejects(createVhd(`${path}.2`, { ...options, blockSizeBytes }), unsupported);
  }
  const large = { ...options, sizeBytes: 2040 * 1024 ** 3, blockSizeBytes: MIB / 2 };
  await assert.rejects(createVhd(`${path}.2`, large), unsupported);
});
