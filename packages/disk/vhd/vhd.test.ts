// Images that Coffer writes and reads, and images of QEMU and libvhdi, which judge them.
// Needs qemu-utils, libvhdi-utils and FUSE.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { seededRandom, systemClock } from '@coffer/base';
import type { Disk, Extent, WritableDisk } from '../disk.ts';
import {
  assertHolds,
  diskContract,
  writableDiskContract,
  writeAtRandom,
} from '../testing/contract.ts';
import { createVhd, type VhdOptions } from './create.ts';
import { createDifferencingVhd } from './testing/differencing.ts';
import { openVhd, openWritableVhd } from './vhd.ts';

const MIB = 1024 * 1024;
const KIB512 = 512 * 1024;
const SOURCES = { random: seededRandom(7), clock: systemClock };
const folder = mkdtempSync(join(tmpdir(), 'coffer-vhd-'));
after(() => rmSync(folder, { recursive: true }));
let madeCount = 0;
const newPath = (): string => join(folder, `${madeCount++}.vhd`);

function options(sizeBytes: number, more: Partial<VhdOptions> = {}): VhdOptions {
  return { ...SOURCES, sizeBytes, subformat: 'dynamic', ...more };
}

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function sizeToldByQemu(path: string): number {
  const info = JSON.parse(run('qemu-img', 'info', '--output=json', '-f', 'vpc', path)) as object;
  assert.ok('virtual-size' in info);
  return Number(info['virtual-size']);
}

function assertQemuReads(path: string, expected: Buffer): void {
  assert.equal(sizeToldByQemu(path), expected.length);
  writeFileSync(`${path}.raw`, expected);
  run('qemu-img', 'compare', '-f', 'vpc', '-F', 'raw', path, `${path}.raw`);
}

async function extentsOf(disk: Disk): Promise<Extent[]> {
  const extents: Extent[] = [];
  for await (const extent of disk.extents()) extents.push(extent);
  return extents;
}

async function closed(disk: WritableDisk): Promise<void> {
  await disk.flush();
  await disk.close();
}

for (const subformat of ['fixed', 'dynamic'] as const) {
  writableDiskContract(`vhd ${subformat}`, async (sizeBytes) => {
    const path = newPath();
    const disk = await createVhd(path, options(sizeBytes, { subformat, blockSizeBytes: KIB512 }));
    return { disk, reopen: () => openVhd(path) };
  });
}

writableDiskContract('vhd differencing', async (sizeBytes) => {
  const [parent, path] = [newPath(), newPath()];
  await closed(await createVhd(parent, options(sizeBytes)));
  const disk = await createDifferencingVhd(path, parent, SOURCES);
  return { disk, reopen: () => openWritableVhd(path) };
});

interface Chain {
  readonly paths: readonly string[];
  readonly expected: Buffer;
}

/** A chain, the child last, each image with writes of its own. */
async function writtenChain(
  length: number,
  sizeBytes: number,
  base: Partial<VhdOptions>,
): Promise<Chain> {
  const random = seededRandom(length * 100 + (base.blockSizeBytes ?? 1) / KIB512);
  const inFolder = join(folder, `chain-${madeCount++}`);
  mkdirSync(inFolder);
  const paths = Array.from({ length }, (_, index) => join(inFolder, `layer ${index} ü.vhd`));
  const expected = Buffer.alloc(sizeBytes);
  for (const [index, path] of paths.entries()) {
    const disk =
      index === 0
        ? await createVhd(path, options(sizeBytes, base))
        : await createDifferencingVhd(path, paths[index - 1]!, SOURCES);
    await writeAtRandom(disk, expected, random, 20);
    await disk.flush();
    await writeAtRandom(disk, expected, random, 10);
    await closed(disk);
  }
  return { paths, expected };
}

for (const base of [
  { subformat: 'fixed' },
  { subformat: 'dynamic', blockSizeBytes: KIB512 },
  { subformat: 'dynamic', blockSizeBytes: 8 * MIB },
] as const) {
  const name = `${base.subformat} ${'blockSizeBytes' in base ? base.blockSizeBytes / KIB512 : ''}`;
  diskContract(`vhd chain of three over ${name}`, async () => {
    const { paths, expected } = await writtenChain(3, 9 * MIB + 512, base);
    return { disk: await openVhd(paths[2]!), expected };
  });
}

test('an existing image of a chain is written on', async () => {
  const { paths, expected } = await writtenChain(3, 6 * MIB, { blockSizeBytes: KIB512 });
  for (let round = 0; round < 3; round++) {
    const disk = await openWritableVhd(paths[2]!);
    await writeAtRandom(disk, expected, seededRandom(round), 10);
    await closed(disk);
  }
  const disk = await openVhd(paths[2]!);
  await assertHolds(disk, expected, seededRandom(1));
  await disk.close();
});

test('many reads at once each get what they asked for', async () => {
  const { paths, expected } = await writtenChain(3, 6 * MIB, { blockSizeBytes: KIB512 });
  const disk = await openVhd(paths[2]!);
  const reads = Array.from({ length: 100 }, async (_, index) => {
    const part = Buffer.alloc(70_000);
    await disk.read(index * 60_000, part);
    assert.ok(part.equals(expected.subarray(index * 60_000, index * 60_000 + 70_000)));
  });
  await Promise.all(reads);
  await disk.close();
});

test('zeroes take no blocks in a dynamic image, and a large empty one is small', async () => {
  const path = newPath();
  const disk = await createVhd(path, options(2040 * 1024 ** 3));
  await disk.write(5 * MIB, Buffer.alloc(9 * MIB));
  await disk.zero(0, disk.sizeBytes);
  assert.deepEqual(await extentsOf(disk), [{ offset: 0, length: disk.sizeBytes, kind: 'zero' }]);
  await disk.write(disk.sizeBytes - 512, Buffer.alloc(512, 1));
  await closed(disk);
  const { size } = statSync(path);
  assert.ok(size < 8 * MIB, `${size} bytes`);
  assert.equal(sizeToldByQemu(path), disk.sizeBytes);
});

test('zeroes in a differencing image hide what the parent holds', async () => {
  const [parent, path] = [newPath(), newPath()];
  const base = await createVhd(parent, options(4 * MIB));
  await base.write(0, Buffer.alloc(4 * MIB, 7));
  await closed(base);
  const disk = await createDifferencingVhd(path, parent, SOURCES);
  await disk.zero(1000, MIB);
  await disk.write(3 * MIB, Buffer.alloc(MIB));
  const expected = Buffer.alloc(4 * MIB, 7)
    .fill(0, 1000, 1000 + MIB)
    .fill(0, 3 * MIB);
  await closed(disk);
  const again = await openVhd(path);
  await assertHolds(again, expected, seededRandom(2));
  const zeroBytes = (await extentsOf(again))
    .filter(({ kind }) => kind === 'zero')
    .reduce((sum, { length }) => sum + length, 0);
  assert.ok(zeroBytes > 0.9 * MIB, 'zeroes are told to be zeroes');
  await again.close();
});

test('the bitmaps of a dynamic image tell what was written', async () => {
  const path = newPath();
  const disk = await createVhd(path, options(2 * KIB512, { blockSizeBytes: KIB512 }));
  await disk.write(0, Buffer.alloc(512, 1));
  await closed(disk);
  const bytes = readFileSync(path);
  const at = bytes.readUInt32BE(1536) * 512;
  assert.ok(bytes.subarray(at, at + 128).every((byte) => byte === 0xff));
  // Virtual PC marks the sectors that were written, and no others.
  writeFileSync(path, bytes.fill(0, at, at + 128).fill(0x80, at, at + 1));
  const again = await openWritableVhd(path);
  await again.write(5 * 512 + 10, Buffer.alloc(600, 2));
  await closed(again);
  assert.equal(readFileSync(path).readUInt16BE(at), 0b10000110_00000000);
  const expected = Buffer.alloc(2 * KIB512)
    .fill(1, 0, 512)
    .fill(2, 2570, 3170);
  const read = await openVhd(path);
  await assertHolds(read, expected, seededRandom(8));
  await read.close();
});

for (const subformat of ['fixed', 'dynamic'] as const) {
  test(`QEMU reads the ${subformat} image that Coffer writes`, async () => {
    for (const sizeBytes of [6 * MIB + 512, 8_912_896, 2 * KIB512]) {
      const path = newPath();
      const expected = Buffer.alloc(sizeBytes);
      const disk = await createVhd(path, options(sizeBytes, { subformat }));
      await writeAtRandom(disk, expected, seededRandom(sizeBytes), 20);
      await closed(disk);
      assertQemuReads(path, expected);
    }
  });

  for (const forced of ['on', 'off']) {
    test(`Coffer reads and writes the ${subformat} image of QEMU, force_size ${forced}`, async () => {
      const path = newPath();
      const content = Buffer.alloc(5 * MIB);
      seededRandom(3)
        .bytes(MIB)
        .copy(content, 2 * MIB);
      writeFileSync(`${path}.raw`, content);
      const qemuOptions = `subformat=${subformat},force_size=${forced}`;
      const convert = ['convert', '-f', 'raw', '-O', 'vpc', '-o', qemuOptions];
      run('qemu-img', ...convert, `${path}.raw`, path);
      const disk = await openWritableVhd(path);
      const told = /virtual size: .*\((\d+) bytes\)/.exec(
        run('qemu-img', 'info', '-f', 'vpc', path),
      );
      assert.equal(disk.sizeBytes, Number(told?.[1]));
      const expected = Buffer.concat([content, Buffer.alloc(disk.sizeBytes - content.length)]);
      await assertHolds(disk, expected, seededRandom(4));
      await writeAtRandom(disk, expected, seededRandom(5), 20);
      await closed(disk);
      assertQemuReads(path, expected);
    });
  }
}

test('QEMU writes on in the dynamic image that Coffer wrote', async () => {
  const path = newPath();
  const expected = Buffer.alloc(8 * MIB);
  const disk = await createVhd(path, options(8 * MIB));
  await disk.write(0, expected.fill(1, 0, MIB).subarray(0, MIB));
  await closed(disk);
  run('qemu-io', '-f', 'vpc', '-c', 'write -P 2 512k 4M', path);
  expected.fill(2, KIB512, KIB512 + 4 * MIB);
  const again = await openVhd(path);
  await assertHolds(again, expected, seededRandom(6));
  await again.close();
});

for (const length of [1, 2, 3]) {
  test(`libvhdi reads a chain of ${length} that Coffer writes`, async () => {
    const { paths, expected } = await writtenChain(length, 6 * MIB, { blockSizeBytes: 2 * MIB });
    const path = paths.at(-1)!;
    const info = run('vhdiinfo', path);
    assert.match(info, length === 1 ? /Disk type\s+: Dynamic/ : /Disk type\s+: Differential/);
    const mountPoint = join(folder, `mount-${madeCount++}`);
    mkdirSync(mountPoint);
    run('vhdimount', path, mountPoint);
    try {
      // The last image of the chain is the last file.
      assert.ok(readFileSync(join(mountPoint, `vhdi${length}`)).equals(expected));
    } finally {
      run('fusermount', '-u', mountPoint);
    }
  });
}
