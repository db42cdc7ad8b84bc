// Chains: how parents are found and checked, and what libvhdi reads of them.

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
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type ErrorCode, isCofferError, seededRandom, systemRandom } from '@coffer/base';
import { createVhdx } from './create.ts';
import { createDifferencingVhdx } from './testing/differencing.ts';
import { encodeGuid, randomGuid } from '../guid-codec.ts';
import { METADATA_TABLE_BYTES } from './metadata-table-codec.ts';
import { decodeParentLocator, encodeParentLocator } from './parent-locator-codec.ts';
import { METADATA_OFFSET, patchHeaders } from './testing/patch.ts';
import { openVhdx } from './vhdx.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 12 * MIB;
const LOCATOR_OFFSET = METADATA_OFFSET + METADATA_TABLE_BYTES + 40;
const LOCATOR_LENGTH_OFFSET = METADATA_OFFSET + 32 + 5 * 32 + 20;
const random = seededRandom(51);
const folder = mkdtempSync(join(tmpdir(), 'coffer-vhdx-chain-'));
let chainCount = 0;
after(() => rmSync(folder, { recursive: true }));

const fails =
  (code: ErrorCode) =>
  (error: unknown): boolean =>
    isCofferError(error, code);

interface Chain {
  readonly folder: string;
  readonly base: string;
  readonly middle: string;
  readonly top: string;
  readonly content: Buffer;
}

async function makeChain(): Promise<Chain> {
  const home = join(folder, `chain-${chainCount++}`);
  mkdirSync(join(home, 'old'), { recursive: true });
  const [base, middle, top] = [
    join(home, 'old', 'base.vhdx'),
    join(home, 'middle.avhdx'),
    join(home, 'top.avhdx'),
  ];
  const content = Buffer.alloc(SIZE_BYTES);
  const options = { subformat: 'dynamic', sizeBytes: SIZE_BYTES, random: systemRandom } as const;
  const disks = [
    async () => await createVhdx(base, options),
    async () => await createDifferencingVhdx(middle, base, options),
    async () => await createDifferencingVhdx(top, middle, options),
  ];
  for (const open of disks) {
    const disk = await open();
    for (const length of [100, 700, 70_000, 3 * MIB]) {
      const offset = Math.floor(random.fraction() * (SIZE_BYTES - length));
      const bytes = random.bytes(length);
      bytes.copy(content, offset);
      await disk.write(offset, bytes);
    }
    await disk.close();
  }
  return { folder: home, base, middle, top, content };
}

async function contentOf(path: string): Promise<Buffer> {
  const disk = await openVhdx(path);
  try {
    const content = Buffer.alloc(disk.sizeBytes);
    await disk.read(0, content);
    return content;
  } finally {
    await disk.close();
  }
}

/** Gives an image another parent locator. */
function setLocator(path: string, locator: Buffer): void {
  const image = readFileSync(path);
  locator.copy(image, LOCATOR_OFFSET);
  image.writeUInt32LE(locator.length, LOCATOR_LENGTH_OFFSET);
  writeFileSync(path, image);
}

function linkageOf(path: string): string {
  const image = readFileSync(path);
  const length = image.readUInt32LE(LOCATOR_LENGTH_OFFSET);
  const place = { path, structure: 'parent locator', offset: LOCATOR_OFFSET };
  const bytes = image.subarray(LOCATOR_OFFSET, LOCATOR_OFFSET + length);
  return decodeParentLocator(bytes, place).linkages[0]!;
}

test('a parent is found at its relative path, beside its child, or at its absolute path', async () => {
  const { base, middle, top, folder: home, content } = await makeChain();
  assert.ok((await contentOf(top)).equals(content));
  // As one is used to it: the files of a machine are copied into one folder.
  renameSync(base, join(home, 'base.vhdx'));
  assert.ok((await contentOf(top)).equals(content));
  const elsewhere = join(home, 'elsewhere');
  mkdirSync(elsewhere);
  renameSync(join(home, 'base.vhdx'), base);
  const moved = join(elsewhere, 'top.avhdx');
  copyFileSync(top, moved);
  assert.ok((await contentOf(moved)).equals(content), 'the parent is at its absolute path');
  const paths = {
    relativePath: 'none.vhdx',
    absolutePath: `\\\\?\\Z:${base.replaceAll('/', '\\')}`,
  };
  setLocator(middle, encodeParentLocator(linkageOf(middle), paths));
  assert.ok((await contentOf(top)).equals(content), 'the drive is left out');
});

test('a parent that is not there, or is another disk, or was changed, is said to be', async () => {
  const { base, middle, top, content } = await makeChain();
  const other = await makeChain();
  const original = readFileSync(base);
  rmSync(base);
  await assert.rejects(contentOf(top), fails('image-parent-missing'));
  copyFileSync(other.base, base);
  await assert.rejects(contentOf(top), fails('image-parent-changed'));
  writeFileSync(base, original);
  assert.ok((await contentOf(top)).equals(content));
  patchHeaders(original, (header) => encodeGuid(randomGuid(random)).copy(header, 32));
  writeFileSync(base, original);
  await assert.rejects(contentOf(middle), fails('image-parent-changed'));
  writeFileSync(base, 'no image');
  await assert.rejects(contentOf(middle), fails('image-damaged'));
  rmSync(base);
  mkdirSync(base);
  await assert.rejects(contentOf(middle), fails('image-parent-missing'));
});

test('the second linkage is one, too, as while a child is merged into its parent', async () => {
  const { base, middle, top, content } = await makeChain();
  const paths = { relativePath: 'old\\base.vhdx', absolutePath: '\\\\?\\none' };
  const locator = encodeParentLocator(randomGuid(random), paths);
  const image = readFileSync(base);
  // The text of the one path is replaced by a linkage, which is longer.
  const key = Buffer.from('parent_linkage2', 'utf16le');
  const value = Buffer.from(`{${linkageOf(middle)}}`.toUpperCase(), 'utf16le');
  const entry = 20 + 2 * 12;
  const extended = Buffer.concat([locator, key, value]);
  extended.writeUInt32LE(locator.length, entry);
  extended.writeUInt32LE(locator.length + key.length, entry + 4);
  extended.writeUInt16LE(key.length, entry + 8);
  extended.writeUInt16LE(value.length, entry + 10);
  setLocator(middle, extended);
  writeFileSync(base, image);
  assert.ok((await contentOf(top)).equals(content));
});

test('an image that is its own ancestor is refused', async () => {
  const { middle, top } = await makeChain();
  const image = readFileSync(top);
  const dataWriteGuid = linkageOf(top);
  // The parent of the middle one is the top one, which says that it is the base.
  const paths = { relativePath: '.\\top.avhdx', absolutePath: '\\\\?\\none' };
  const found = linkageOf(middle);
  patchHeaders(image, (header) => encodeGuid(found).copy(header, 32));
  writeFileSync(top, image);
  setLocator(middle, encodeParentLocator(found, paths));
  assert.notEqual(dataWriteGuid, found);
  await assert.rejects(contentOf(top), fails('image-chain-cyclic'));
  await assert.rejects(contentOf(middle), fails('image-chain-cyclic'));
  setLocator(middle, encodeParentLocator(found, { ...paths, relativePath: 'middle.avhdx' }));
  await assert.rejects(contentOf(middle), fails('image-chain-cyclic'));
});

test('a child may be longer than its parent, and reads as zeroes there', async () => {
  const { base, middle } = await makeChain();
  const image = readFileSync(middle);
  image.writeBigUInt64LE(BigInt(SIZE_BYTES + 3 * MIB), METADATA_OFFSET + METADATA_TABLE_BYTES + 8);
  const before = await contentOf(middle);
  writeFileSync(middle, image);
  const content = await contentOf(middle);
  assert.ok(content.subarray(0, SIZE_BYTES).equals(before));
  assert.ok(content.subarray(SIZE_BYTES).equals(Buffer.alloc(3 * MIB)));
  assert.equal((await contentOf(base)).length, SIZE_BYTES);
});

test('what belongs to the disk goes to its children, as 2.6.1.2 says', async () => {
  const { base, folder: home } = await makeChain();
  const image = readFileSync(base);
  const id = randomGuid(random);
  const entry = METADATA_OFFSET + 32 + 5 * 32;
  image.writeUInt16LE(6, METADATA_OFFSET + 10);
  encodeGuid(id).copy(image, entry);
  image.writeUInt32LE(128 * 1024, entry + 16);
  image.writeUInt32LE(9, entry + 20);
  image.writeUInt32LE(1 | 2, entry + 24);
  image.write('of a user', METADATA_OFFSET + 128 * 1024);
  writeFileSync(base, image);
  const child = join(home, 'child.avhdx');
  await (await createDifferencingVhdx(child, base, { random })).close();
  const made = readFileSync(child);
  assert.ok(made.includes(encodeGuid(id)));
  assert.ok(made.includes('of a user'));
});

test('libvhdi reads each level of a chain as we do', async () => {
  const { folder: home, base, middle, top } = await makeChain();
  // It looks for parents in the folder of the child.
  renameSync(base, join(home, 'base.vhdx'));
  const levels = [join(home, 'base.vhdx'), middle, top];
  const mounted = join(home, 'mounted');
  mkdirSync(mounted);
  execFileSync('vhdimount', [top, mounted]);
  try {
    const names = readdirSync(mounted).sort();
    assert.deepEqual(names, ['vhdi1', 'vhdi2', 'vhdi3']);
    for (const [level, name] of names.entries()) {
      const judged = readFileSync(join(mounted, name));
      assert.ok(judged.equals(await contentOf(levels[level]!)), name);
    }
  } finally {
    execFileSync('fusermount', ['-u', mounted]);
  }
});
