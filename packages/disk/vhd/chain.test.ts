import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type ErrorCode, isCofferError, seededRandom, systemClock } from '@coffer/base';
import { createVhd } from './create.ts';
import { createDifferencingVhd } from './testing/differencing.ts';
import { HEADER_AT, patched, u32, u64 } from './testing/patched.ts';
import { openVhd } from './vhd.ts';

const MIB = 1024 * 1024;
const SOURCES = { random: seededRandom(11), clock: systemClock };
const folder = mkdtempSync(join(tmpdir(), 'coffer-vhd-chain-'));
after(() => rmSync(folder, { recursive: true }));

const LOCATOR_AT = 576;
const NAME_AT = 64;

interface Family {
  readonly base: string;
  readonly child: string;
  readonly grandchild: string;
}

/** `base/base.vhd`, `child.vhd` and `grandchild.vhd`, where each holds a megabyte of its own. */
async function family(name: string): Promise<Family> {
  const home = join(folder, name);
  mkdirSync(join(home, 'base'), { recursive: true });
  const [base, child] = [join(home, 'base', 'base.vhd'), join(home, 'child.vhd')];
  const grandchild = join(home, 'grandchild.vhd');
  const disks = [
    () => createVhd(base, { ...SOURCES, sizeBytes: 3 * MIB, subformat: 'dynamic' }),
    () => createDifferencingVhd(child, base, SOURCES),
    () => createDifferencingVhd(grandchild, child, SOURCES),
  ];
  for (const [index, make] of disks.entries()) {
    const disk = await make();
    await disk.write(index * MIB, Buffer.alloc(MIB, index + 1));
    await disk.close();
  }
  return { base, child, grandchild };
}

async function assertReads(path: string): Promise<void> {
  const disk = await openVhd(path);
  const bytes = Buffer.alloc(3 * MIB);
  await disk.read(0, bytes);
  await disk.close();
  assert.deepEqual([bytes[0], bytes[MIB], bytes[2 * MIB]], [1, 2, 3]);
}

async function assertFails(path: string, code: ErrorCode): Promise<void> {
  const open = readdirSync('/proc/self/fd').length;
  await assert.rejects(openVhd(path), (error) => isCofferError(error, code));
  assert.equal(readdirSync('/proc/self/fd').length, open, 'nothing is left open');
}

function change(path: string, ...patches: Parameters<typeof patched>[1][]): void {
  writeFileSync(path, patched(readFileSync(path), ...patches));
}

const noRelativePath = { of: 'header', at: LOCATOR_AT, bytes: 'none' } as const;
const noAbsolutePath = { of: 'header', at: LOCATOR_AT + 24, bytes: 'none' } as const;

test('parents are found by their relative paths when the folder moves', async () => {
  const { grandchild } = await family('moved');
  renameSync(join(folder, 'moved'), join(folder, 'there'));
  await assertReads(grandchild.replace('moved', 'there'));
});

test('parents are found by their absolute paths when the child moves', async () => {
  const { grandchild } = await family('left');
  const alone = join(folder, 'alone');
  mkdirSync(alone);
  copyFileSync(grandchild, join(alone, 'copy.vhd'));
  await assertReads(join(alone, 'copy.vhd'));
});

test('parents are found by their names in the folder of the child', async () => {
  const { base, child, grandchild } = await family('together');
  const home = join(folder, 'one folder');
  mkdirSync(home);
  for (const path of [base, child, grandchild])
    renameSync(path, join(home, path.split('/').at(-1)!));
  await assertReads(join(home, 'grandchild.vhd'));
  change(join(home, 'grandchild.vhd'), noRelativePath, noAbsolutePath);
  await assertReads(join(home, 'grandchild.vhd'));
});

test('a parent with another time of modification is the parent nevertheless', async () => {
  const { base, child, grandchild } = await family('touched');
  for (const path of [base, child]) utimesSync(path, 1, 1);
  await assertReads(grandchild);
});

test('a missing parent is told, at any depth', async () => {
  const { base, child, grandchild } = await family('missing');
  rmSync(base);
  await assertFails(grandchild, 'image-parent-missing');
  rmSync(child);
  await assertFails(grandchild, 'image-parent-missing');
});

test('another image in the place of the parent is told, at any depth', async () => {
  const { base, child, grandchild } = await family('exchanged');
  const other = await family('other');
  copyFileSync(other.base, base);
  await assertFails(grandchild, 'image-parent-changed');
  copyFileSync(other.child, child);
  await assertFails(grandchild, 'image-parent-changed');
});

test('an image in the place of the parent does not hide the parent in another place', async () => {
  const { base, child } = await family('decoy');
  const other = await family('decoy 2');
  const home = join(folder, 'decoys');
  mkdirSync(join(home, 'base'), { recursive: true });
  copyFileSync(child, join(home, 'child.vhd'));
  copyFileSync(base, join(home, 'base.vhd'));
  copyFileSync(other.base, join(home, 'base', 'base.vhd'));
  const disk = await openVhd(join(home, 'child.vhd'));
  await disk.close();
});

test('chains that lead back are told', async () => {
  const { base, child, grandchild } = await family('cyclic');
  const id = readFileSync(grandchild).subarray(68, 84);
  // The child becomes a child of its child.
  const bytes = readFileSync(grandchild);
  writeFileSync(child, readFileSync(child));
  change(child, { of: 'header', at: 40, bytes: id }, noAbsolutePath, {
    of: 'header',
    at: NAME_AT,
    bytes: Buffer.alloc(512),
  });
  const text = Buffer.from('.\\grandchild.vhd', 'utf16le');
  const at = Number(readFileSync(child).readBigUInt64BE(HEADER_AT + LOCATOR_AT + 16));
  change(
    child,
    { of: 'file', at, bytes: text },
    { of: 'header', at: LOCATOR_AT + 8, bytes: u32(text.length) },
  );
  await assertFails(grandchild, 'image-chain-cyclic');
  await assertFails(child, 'image-chain-cyclic');
  // And one that is its own parent.
  copyFileSync(base, join(folder, 'own.vhd'));
  writeFileSync(join(folder, 'own.vhd'), bytes);
  const own = Buffer.from('.\\own.vhd', 'utf16le');
  const ownAt = Number(bytes.readBigUInt64BE(HEADER_AT + LOCATOR_AT + 16));
  change(
    join(folder, 'own.vhd'),
    { of: 'file', at: ownAt, bytes: own },
    { of: 'header', at: LOCATOR_AT + 8, bytes: u32(own.length) },
    { of: 'header', at: 40, bytes: id },
    noAbsolutePath,
    { of: 'header', at: NAME_AT, bytes: Buffer.alloc(512) },
  );
  await assertFails(join(folder, 'own.vhd'), 'image-chain-cyclic');
});

test('a path to the parent that lies outside of the file is told', async () => {
  const { child } = await family('outside');
  for (const offset of [1n << 40n, (1n << 64n) - 1n]) {
    change(child, { of: 'header', at: LOCATOR_AT + 16, bytes: u64(offset) });
    await assertFails(child, 'image-damaged');
  }
  change(child, { of: 'header', at: LOCATOR_AT + 16, bytes: u64(0n) });
  change(child, { of: 'header', at: LOCATOR_AT + 8, bytes: u32(100_000) });
  await assertFails(child, 'image-damaged');
});

test('a parent that is a pipe is not waited for', async () => {
  const { base, child } = await family('pipe');
  rmSync(base);
  execFileSync('mkfifo', [base]);
  await assertFails(child, 'image-parent-missing');
});

test('a parent that is damaged says so', async () => {
  const { base, child } = await family('damaged');
  writeFileSync(base, 'no image');
  await assertFails(child, 'image-damaged');
});

test('what is no image is refused with its code', async () => {
  await assertFails(join(folder, 'none'), 'source-not-found');
  await assertFails(folder, 'source-unreadable');
});

test('a child longer than its parent reads zeroes beyond it', async () => {
  const { child } = await family('longer');
  change(
    child,
    { of: 'footer', at: 48, bytes: u64(BigInt(4 * MIB)) },
    { of: 'footer', at: 56, bytes: Buffer.from([0xff, 0xff, 16, 255]) },
  );
  const disk = await openVhd(child);
  const bytes = Buffer.alloc(4 * MIB, 9);
  await disk.read(0, bytes);
  await disk.close();
  assert.deepEqual([bytes[0], bytes[MIB], bytes[2 * MIB], bytes[3 * MIB]], [1, 2, 0, 0]);
});

test('a chain longer than the limit is not supported', async () => {
  const home = join(folder, 'long');
  mkdirSync(home);
  const path = (index: number): string => join(home, `${index}.vhd`);
  const base = await createVhd(path(0), { ...SOURCES, sizeBytes: MIB, subformat: 'fixed' });
  await base.close();
  // Made of copies, since to make each on top of the others opens all of them each time.
  const first = await createDifferencingVhd(path(1), path(0), SOURCES);
  await first.close();
  const template = readFileSync(path(1));
  const nameAt = Number(template.readBigUInt64BE(HEADER_AT + LOCATOR_AT + 16));
  for (let index = 2; index <= 128; index++) {
    const name = Buffer.from(`.\\${index - 1}.vhd`, 'utf16le');
    const bytes = patched(
      template,
      noAbsolutePath,
      { of: 'file', at: nameAt, bytes: name },
      { of: 'header', at: LOCATOR_AT + 8, bytes: u32(name.length) },
      { of: 'header', at: 40, bytes: idOf(index - 1, template) },
      { of: 'footer', at: 68, bytes: idOf(index, template) },
    );
    writeFileSync(path(index), bytes);
  }
  const disk = await openVhd(path(127));
  await disk.read(0, Buffer.alloc(4096));
  await disk.close();
  await assertFails(path(128), 'image-unsupported');
});

function idOf(index: number, first: Buffer): Buffer {
  return index === 1 ? first.subarray(68, 84) : Buffer.alloc(16, index);
}
