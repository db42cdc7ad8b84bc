// VHDX as disks: the contract, and what qemu and libvhdi read of what was written, and the reverse.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type ErrorCode, isCofferError, seededRandom } from '@coffer/base';
import type { Disk, WritableDisk } from '../disk.ts';
import {
  assertHolds,
  diskContract,
  writableDiskContract,
  writeAtRandom,
} from '../testing/contract.ts';
import { createVhdx, type VhdxOptions } from './create.ts';
import { createDifferencingVhdx } from './testing/differencing.ts';
import { BAT_OFFSET } from './testing/patch.ts';
import { openVhdx, openWritableVhdx } from './vhdx.ts';

const MIB = 1024 * 1024;
/** A block and a half, so that the last one is cut. */
const CONTRACT_BYTES = 3 * MIB + 4096;
const random = seededRandom(5);
const folder = mkdtempSync(join(tmpdir(), 'coffer-vhdx-'));
let fileCount = 0;
after(() => rmSync(folder, { recursive: true }));
const newPath = (name: string): string => join(folder, `${fileCount++}-${name}`);

const fails =
  (code: ErrorCode) =>
  (error: unknown): boolean =>
    isCofferError(error, code);

const SHAPES: readonly (Omit<VhdxOptions, 'sizeBytes' | 'random'> & { readonly name: string })[] = [
  { name: 'fixed', subformat: 'fixed' },
  { name: 'dynamic', subformat: 'dynamic' },
  { name: 'dynamic, blocks of 1 MiB', subformat: 'dynamic', blockSizeBytes: MIB },
  { name: 'dynamic, blocks of 256 MiB', subformat: 'dynamic', blockSizeBytes: 256 * MIB },
  { name: 'dynamic, sectors of 4096 bytes', subformat: 'dynamic', logicalSectorSizeBytes: 4096 },
];

for (const { name, ...shape } of SHAPES) {
  writableDiskContract(
    `VHDX, ${name}`,
    async (sizeBytes) => {
      const path = newPath('contract.vhdx');
      const disk = await createVhdx(path, { ...shape, sizeBytes, random });
      return { disk, reopen: async () => await openVhdx(path) };
    },
    CONTRACT_BYTES,
  );
}

for (const logicalSectorSizeBytes of [512, 4096]) {
  writableDiskContract(
    `VHDX, a child of zeroes, sectors of ${logicalSectorSizeBytes} bytes`,
    async (sizeBytes) => {
      const parent = newPath('base.vhdx');
      const path = newPath('child.avhdx');
      const subformat = 'dynamic';
      const options = { subformat, sizeBytes, logicalSectorSizeBytes, random } as const;
      await (await createVhdx(parent, options)).close();
      const disk = await createDifferencingVhdx(path, parent, { random });
      return { disk, reopen: async () => await openVhdx(path) };
    },
    CONTRACT_BYTES,
  );
}

interface Chain {
  readonly paths: readonly string[];
  readonly contents: readonly Buffer[];
}

/** A base and its descendants, each with changes at random places. */
async function makeChain(length: number, sizeBytes: number, options = {}): Promise<Chain> {
  const paths = Array.from({ length }, (_, level) => newPath(`level-${level}.vhdx`));
  const contents: Buffer[] = [];
  const expected = Buffer.alloc(sizeBytes);
  for (const [level, path] of paths.entries()) {
    const disk =
      level === 0
        ? await createVhdx(path, { subformat: 'dynamic', sizeBytes, random, ...options })
        : await createDifferencingVhdx(path, paths[level - 1]!, { random });
    await writeAtRandom(disk, expected, seededRandom(level + 1), 25);
    await disk.close();
    contents.push(Buffer.from(expected));
  }
  return { paths, contents };
}

diskContract('VHDX, a chain of three', async () => {
  const { paths, contents } = await makeChain(3, 12 * MIB);
  return { disk: await openVhdx(paths[2]!), expected: contents[2]! };
});

diskContract('VHDX, a chain of three with sectors of 4096 bytes', async () => {
  const { paths, contents } = await makeChain(3, 12 * MIB, { logicalSectorSizeBytes: 4096 });
  return { disk: await openVhdx(paths[2]!), expected: contents[2]! };
});

test('each level of a chain keeps what it held', async () => {
  const { paths, contents } = await makeChain(3, 9 * MIB + 512);
  for (const [level, path] of paths.entries()) await assertImage(path, contents[level]!);
});

test('a chain of thirty images is read', async () => {
  const sizeBytes = 2 * MIB;
  const expected = Buffer.alloc(sizeBytes);
  let path = newPath('long-0.vhdx');
  await (await createVhdx(path, { subformat: 'dynamic', sizeBytes, random })).close();
  for (let level = 1; level <= 30; level++) {
    const child = newPath(`long-${level}.avhdx`);
    const disk = await createDifferencingVhdx(child, path, { random });
    if (level % 10 === 0) {
      const bytes = random.bytes(3000);
      await disk.write(level * 5000, bytes);
      bytes.copy(expected, level * 5000);
    }
    await disk.close();
    path = child;
  }
  await assertImage(path, expected);
});

test('qemu reads what was written, whatever the shape', async () => {
  for (const { name, ...shape } of SHAPES) {
    const path = newPath('judged.vhdx');
    const expected = Buffer.alloc(11 * MIB + 4096);
    const disk = await createVhdx(path, { ...shape, sizeBytes: expected.length, random });
    await writeAtRandom(disk, expected, seededRandom(7), 40);
    await disk.close();
    // It knows no sectors of 4096 bytes.
    if (shape.logicalSectorSizeBytes === 4096) continue;
    assertQemuReads(path, expected, name);
  }
});

test('what qemu wrote is read, whatever the shape', async () => {
  const raw = newPath('source.raw');
  const expected = Buffer.alloc(21 * MIB + 512);
  random.bytes(5 * MIB).copy(expected, 3 * MIB + 512);
  random.bytes(512).copy(expected, expected.length - 512);
  writeFileSync(raw, expected);
  for (const options of [
    'subformat=dynamic',
    'subformat=fixed',
    'subformat=dynamic,block_size=1M',
    'subformat=dynamic,block_size=256M,log_size=4M',
    'subformat=fixed,block_size=16M,block_state_zero=off',
  ]) {
    const path = newPath('qemu.vhdx');
    qemu('convert', '-f', 'raw', '-O', 'vhdx', '-o', options, raw, path);
    await assertImage(path, expected);
  }
});

test('an image of qemu is written to, and qemu reads it again', async () => {
  for (const options of ['subformat=dynamic,block_size=1M', 'subformat=fixed,block_size=16M']) {
    const path = newPath('both.vhdx');
    qemu('create', '-f', 'vhdx', '-o', options, path, String(9 * MIB + 1024));
    const expected = Buffer.alloc(9 * MIB + 1024);
    for (const seed of [1, 2]) {
      const disk = await openWritableVhdx(path, { random });
      await writeAtRandom(disk, expected, seededRandom(seed), 30);
      await disk.close();
      assertQemuReads(path, expected, options);
      await assertImage(path, expected);
    }
  }
});

test('a large disk of few blocks is small, and says where its data is', async () => {
  const path = newPath('large.vhdx');
  const sizeBytes = 64 * 1024 * 1024 * MIB;
  const blockSizeBytes = 32 * MIB;
  const disk = await createVhdx(path, { subformat: 'dynamic', sizeBytes, blockSizeBytes, random });
  const bytes = random.bytes(MIB);
  const places = [0, 5 * 1024 * 1024 * MIB + 12_345, sizeBytes - bytes.length];
  for (const place of places) await disk.write(place, bytes);
  await disk.close();
  assert.ok(statSync(path).blocks * 512 < 8 * MIB, 'the blocks are sparse');
  const again = await openVhdx(path);
  for (const place of places) {
    const read = Buffer.alloc(bytes.length);
    await again.read(place, read);
    assert.ok(read.equals(bytes));
  }
  let end = 0;
  const data: number[] = [];
  for await (const { offset, length, kind } of again.extents()) {
    assert.equal(offset, end);
    end += length;
    if (kind === 'data') data.push(offset);
  }
  assert.equal(end, sizeBytes);
  assert.ok(data.length >= 3);
  await again.close();
  const info: unknown = JSON.parse(qemu('info', '-f', 'vhdx', '--output=json', path));
  assert.equal((info as { 'virtual-size': number })['virtual-size'], sizeBytes);
});

test('zeroes hide the parent, whole blocks without taking space', async () => {
  const parent = newPath('full.vhdx');
  const sizeBytes = 8 * MIB;
  const expected = random.bytes(sizeBytes);
  const base = await createVhdx(parent, { subformat: 'dynamic', sizeBytes, random });
  await base.write(0, expected);
  await base.close();
  const path = newPath('hidden.avhdx');
  const child = await createDifferencingVhdx(path, parent, { random });
  await child.zero(2 * MIB, 4 * MIB);
  await child.close();
  expected.fill(0, 2 * MIB, 6 * MIB);
  await assertImage(path, expected);
  assert.equal(statSync(path).size, 4 * MIB, 'no block was allocated');
  const again = await openWritableVhdx(path, { random });
  await again.zero(MIB + 7, 100);
  await again.write(3 * MIB, Buffer.from('x'));
  await again.close();
  expected.fill(0, MIB + 7, MIB + 107);
  expected.write('x', 3 * MIB);
  await assertImage(path, expected);
});

test('stale bits of a block that was not present mean nothing', async () => {
  const [parent, path] = [newPath('full.vhdx'), newPath('stale.avhdx')];
  const expected = random.bytes(4 * MIB);
  const base = await createVhdx(parent, { subformat: 'dynamic', sizeBytes: 4 * MIB, random });
  await base.write(0, expected);
  await base.close();
  const child = await createDifferencingVhdx(path, parent, { random });
  await child.write(0, Buffer.from('first'));
  await child.close();
  // As if a crash had lost the entry of the block, but not its bits.
  const file = readFileSync(path);
  assert.equal(file.readUInt8(BAT_OFFSET) & 7, 7, 'the block is partially present');
  file.fill(0, BAT_OFFSET, BAT_OFFSET + 8);
  writeFileSync(path, file);
  const again = await openWritableVhdx(path, { random });
  await again.write(MIB, Buffer.from('second'));
  await again.close();
  expected.write('second', MIB);
  await assertImage(path, expected);
});

test('the last block may be cut where the disk ends, and nothing is put behind it', async () => {
  const path = newPath('cut.vhdx');
  const expected = random.bytes(3 * MIB);
  const options = { subformat: 'dynamic', sizeBytes: expected.length, random } as const;
  const disk = await createVhdx(path, options);
  await disk.write(2 * MIB, expected.subarray(2 * MIB));
  await disk.close();
  truncateSync(path, statSync(path).size - MIB);
  const again = await openWritableVhdx(path, { random });
  await again.write(0, expected.subarray(0, 2 * MIB));
  await again.close();
  await assertImage(path, expected);
  assertQemuReads(path, expected, 'cut');
});

test('many blocks at once are committed in several entries of the log', async () => {
  const path = newPath('many.vhdx');
  const sizeBytes = 1024 * 1024 * MIB;
  const disk = await createVhdx(path, {
    subformat: 'dynamic',
    blockSizeBytes: MIB,
    sizeBytes,
    random,
  });
  const step = 600 * MIB;
  const stamp = (place: number): Buffer => Buffer.from(`at ${place}`);
  const writes: Promise<void>[] = [];
  for (let place = 0; place < sizeBytes; place += step) {
    writes.push(disk.write(place, stamp(place)));
  }
  await Promise.all(writes);
  await disk.close();
  const again = await openVhdx(path);
  for (let place = 0; place < sizeBytes; place += step) {
    const read = Buffer.alloc(stamp(place).length);
    await again.read(place, read);
    assert.ok(read.equals(stamp(place)));
  }
  await again.close();
  qemu('check', '-f', 'vhdx', path);
});

test('a child that was written to can have children, and a parent that was written to has none', async () => {
  const { paths, contents } = await makeChain(2, 4 * MIB);
  const [base, child] = [paths[0]!, paths[1]!];
  await assertImage(child, contents[1]!);
  const unchanged = await openWritableVhdx(base, { random });
  await unchanged.close();
  await assertImage(child, contents[1]!);
  const changed = await openWritableVhdx(base, { random });
  await changed.write(0, Buffer.from('x'));
  await changed.close();
  await assert.rejects(openVhdx(child), fails('image-parent-changed'));
});

test('what lies beyond the end of the disk is neither read nor written', async () => {
  const sizeBytes = 3 * MIB;
  const disk = await createVhdx(newPath('end.vhdx'), { subformat: 'dynamic', sizeBytes, random });
  await assert.rejects(disk.read(sizeBytes - 1, Buffer.alloc(2)), fails('source-changed'));
  await assert.rejects(disk.write(sizeBytes - 1, Buffer.alloc(2)), fails('target-too-small'));
  await assert.rejects(disk.zero(sizeBytes, 1), fails('target-too-small'));
  await disk.close();
});

test('disks that the format does not have are not made', async () => {
  const path = newPath('impossible.vhdx');
  const subformat = 'dynamic';
  for (const options of [
    { sizeBytes: 513 },
    { sizeBytes: 0 },
    { sizeBytes: 64 * 1024 * 1024 * MIB + 512 },
    { sizeBytes: Number.NaN },
    { sizeBytes: MIB, blockSizeBytes: 3 * MIB },
    { sizeBytes: MIB, blockSizeBytes: 512 * MIB },
    { sizeBytes: MIB, logicalSectorSizeBytes: 1024 },
  ]) {
    const made = createVhdx(path, { subformat, random, ...options });
    await assert.rejects(made, fails('image-unsupported'));
  }
  writeFileSync(path, 'mine');
  const made = createVhdx(path, { subformat, sizeBytes: MIB, random });
  await assert.rejects(made, fails('target-unwritable'));
  assert.equal(readFileSync(path, 'utf8'), 'mine');
});

test('a target without space says so, and keeps what was flushed', async () => {
  const mounted = newPath('small');
  execFileSync('mkdir', [mounted]);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=12m', 'none', mounted]);
  try {
    const path = join(mounted, 'disk.vhdx');
    const disk = await createVhdx(path, { subformat: 'dynamic', sizeBytes: 64 * MIB, random });
    const bytes = random.bytes(2 * MIB);
    await disk.write(0, bytes);
    await disk.flush();
    await assert.rejects(fillUp(disk, bytes), fails('target-full'));
    await disk.close();
    const again = await openVhdx(path);
    const read = Buffer.alloc(bytes.length);
    await again.read(0, read);
    assert.ok(read.equals(bytes));
    await again.close();
  } finally {
    execFileSync('umount', [mounted]);
  }
});

async function fillUp(disk: WritableDisk, bytes: Buffer): Promise<void> {
  for (let offset = 0; offset < disk.sizeBytes; offset += bytes.length) {
    await disk.write(offset, bytes);
  }
}

async function assertImage(path: string, expected: Buffer): Promise<void> {
  const disk: Disk = await openVhdx(path);
  try {
    assert.equal(disk.sizeBytes, expected.length);
    await assertHolds(disk, expected, seededRandom(1));
  } finally {
    await disk.close();
  }
}

function assertQemuReads(path: string, expected: Buffer, name: string): void {
  const raw = newPath('expected.raw');
  writeFileSync(raw, expected);
  qemu('check', '-f', 'vhdx', path);
  assert.match(qemu('compare', '-f', 'vhdx', '-F', 'raw', path, raw), /identical/, name);
  rmSync(raw);
}

function qemu(...args: readonly string[]): string {
  return execFileSync('qemu-img', args, { encoding: 'utf8' });
}
