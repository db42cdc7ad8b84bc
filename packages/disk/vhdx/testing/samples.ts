/** Small images to damage, and what they hold. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { seededRandom, systemRandom } from '@coffer/base';
import { openParents } from '../chain.ts';
import { ChainedDisk } from '../chained-disk.ts';
import { createVhdx } from '../create.ts';
import { createDifferencingVhdx } from './differencing.ts';
import { imageIn, type VhdxImage } from '../image.ts';
import { Layer } from '../layer.ts';
import { openWritableIn } from '../writable-disk.ts';
import { afterCrash, MemoryFile } from './memory-file.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 6 * MIB;

export interface Samples {
  /** Blocks of 2 MiB: the first and the third one are there. */
  readonly dynamic: Buffer;
  /** The first block is partially present, and the sector bitmap is behind it. */
  readonly differencing: Buffer;
  /** As `differencing`, with a log that has to be replayed. */
  readonly unclean: Buffer;
}

/** The images, whose parent is in the folder of `path`, where they would be. */
export async function makeSamples(path: string): Promise<Samples> {
  const random = seededRandom(41);
  const base = join(path, '..', 'base.vhdx');
  const options = { subformat: 'dynamic', sizeBytes: SIZE_BYTES, random: systemRandom } as const;
  const parent = await createVhdx(base, options);
  await parent.write(100, random.bytes(3000));
  await parent.write(5 * MIB, random.bytes(3000));
  await parent.close();
  const child = await createDifferencingVhdx(path, base, options);
  await child.write(700, random.bytes(5000));
  await child.close();
  const differencing = readFileSync(path);
  const file = new MemoryFile(Buffer.from(differencing));
  const writable = await openWritableIn(path, file, random);
  await writable.write(2 * MIB + 300, random.bytes(5000));
  await writable.flush();
  // The last flush, and what it made durable, is lost.
  const events = file.events.slice(0, -1);
  const unclean = afterCrash(differencing, events, { ...random, fraction: () => 0 });
  await writable.close();
  return { dynamic: readFileSync(base), differencing, unclean };
}

export async function contentOf(path: string, image: Buffer): Promise<Buffer> {
  const read = await imageIn(path, new MemoryFile(image));
  const parents = await openParents(read);
  return await readLayers([read, ...parents], SIZE_BYTES);
}

/** The first bytes of the disk. The extents are told for all of it. The images are closed. */
export async function readLayers(images: readonly VhdxImage[], lengthMax: number): Promise<Buffer> {
  const [first, ...parents] = images.map((image) => new Layer(image));
  const disk = new ChainedDisk([first!, ...parents]);
  try {
    const content = Buffer.alloc(Math.min(disk.sizeBytes, lengthMax));
    await disk.read(0, content);
    let extentCount = 0;
    const range = { offset: 0, length: Math.min(disk.sizeBytes, SIZE_BYTES) };
    for await (const _ of disk.extents(range)) extentCount++;
    assert.ok(extentCount > 0);
    return content;
  } finally {
    await disk.close();
  }
}
