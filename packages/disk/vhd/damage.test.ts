// Damaged and hostile images: each structure, each border, and a slice of random changes.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  type ErrorCode,
  isCofferError,
  type Random,
  seededRandom,
  systemClock,
} from '@coffer/base';
import { assertHolds } from '../testing/contract.ts';
import { openBlockVhd } from './block-vhd.ts';
import { createVhd } from './create.ts';
import { createDifferencingVhd } from './testing/differencing.ts';
import { visibleSizeBytes } from './footer-codec.ts';
import { readImage, type VhdImage } from './image.ts';
import { layerOf } from './layer.ts';
import { LayeredDisk } from './layered-disk.ts';
import { MemoryFile } from './testing/memory-file.ts';
import { type Patch, patched, u32, u64, withChecksums } from './testing/patched.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 2 * MIB;
const BLOCK_BYTES = 512 * 1024;
const TABLE_AT = 1536;
const SOURCES = { random: seededRandom(13), clock: systemClock };
const folder = mkdtempSync(join(tmpdir(), 'coffer-vhd-damage-'));
after(() => rmSync(folder, { recursive: true }));

/** Whole images; blocks 0 and 2 are allocated in those that have blocks. */
const images = new Map<string, Buffer>();
const contents = new Map<string, Buffer>();

before(async () => {
  const path = (name: string): string => join(folder, name);
  const size = { sizeBytes: SIZE_BYTES, blockSizeBytes: BLOCK_BYTES };
  const made = {
    fixed: await createVhd(path('fixed'), { ...SOURCES, ...size, subformat: 'fixed' }),
    dynamic: await createVhd(path('dynamic'), { ...SOURCES, ...size, subformat: 'dynamic' }),
    differencing: await createDifferencingVhd(path('differencing'), path('dynamic'), SOURCES),
  };
  for (const disk of Object.values(made)) {
    await disk.write(1000, SOURCES.random.bytes(300_000));
    await disk.write(MIB + 4096, SOURCES.random.bytes(9000));
    await disk.flush();
  }
  // The child sees what its parent got after it was made.
  for (const [name, disk] of Object.entries(made)) {
    const content = Buffer.alloc(SIZE_BYTES);
    await disk.read(0, content);
    contents.set(name, content);
    await disk.close();
    images.set(name, readFileSync(path(name)));
  }
});

function image(name: string): Buffer {
  return images.get(name)!;
}

async function read(bytes: Uint8Array): Promise<VhdImage> {
  return await readImage('image.vhd', new MemoryFile(bytes));
}

async function assertReads(name: string, bytes: Uint8Array): Promise<void> {
  const opened = await read(bytes);
  const below = opened.footer.type === 'differencing' ? [await read(image('dynamic'))] : [];
  const disk = new LayeredDisk([opened, ...below].map(layerOf), visibleSizeBytes(opened.footer));
  await assertHolds(disk, contents.get(name)!, seededRandom(1));
}

async function assertFails(
  bytes: Uint8Array,
  code: ErrorCode,
  structure: string,
  offset: number,
): Promise<void> {
  await assert.rejects(read(bytes), (error) => {
    assert.ok(isCofferError(error, code), String(error));
    assert.equal(error.details['structure'], structure, error.message);
    assert.equal(error.details['offset'], offset, error.message);
    return true;
  });
}

test('where the footer at the end is damaged, its copy is used', async () => {
  for (const name of ['dynamic', 'differencing']) {
    const bytes = Buffer.from(image(name));
    bytes[bytes.length - 200]! ^= 1;
    await assertReads(name, bytes);
    await assertReads(name, bytes.subarray(0, bytes.length - 512));
  }
  const bytes = Buffer.from(image('fixed'));
  bytes[bytes.length - 200]! ^= 1;
  await assertFails(bytes, 'image-damaged', 'footer', bytes.length - 512);
});

test('where the copy of the footer is damaged, the one at the end is used', async () => {
  for (const name of ['dynamic', 'differencing']) {
    await assertReads(name, Buffer.from(image(name)).fill(0, 0, 512));
  }
});

test('an image with a damaged footer is written to, and has a footer again', async () => {
  const bytes = Buffer.from(image('dynamic'));
  bytes[bytes.length - 200]! ^= 1;
  const file = new MemoryFile(bytes);
  const disk = await openBlockVhd(await readImage('image.vhd', file), []);
  await disk.write(600_000, Buffer.alloc(10, 5));
  await disk.flush();
  contents.set('restored', Buffer.from(contents.get('dynamic')!).fill(5, 600_000, 600_010));
  await assertReads('restored', file.bytes.fill(0, 0, 512));
});

test('old footers of 511 bytes are read', async () => {
  for (const name of ['fixed', 'dynamic', 'differencing']) {
    await assertReads(name, image(name).subarray(0, -1));
  }
});

test('files that are cut off anywhere are told', async () => {
  for (const name of ['fixed', 'dynamic', 'differencing']) {
    const whole = image(name);
    const borders = [0, 1, 510, 511, 512, 1024, 1535, 1536, 1552, 2048, 4096, whole.length - 513];
    const middle = Math.floor(whole.length / 2);
    for (const length of [...borders, middle]) {
      await assert.rejects(read(whole.subarray(0, length)), (error) =>
        isCofferError(error, 'image-damaged'),
      );
    }
  }
});

interface Hostile {
  readonly name: string;
  readonly patch: Patch;
  readonly code?: ErrorCode;
  readonly structure: string;
  readonly offset: number;
}

const table = (index: number, sector: number): Patch => ({
  of: 'file',
  at: TABLE_AT + index * 4,
  bytes: u32(sector),
});
const TABLE = 'block allocation table';
const HEADER = { structure: 'dynamic header', offset: 512 };

const HOSTILE: readonly Hostile[] = [
  { name: 'a block of 0 bytes', patch: { of: 'header', at: 32, bytes: u32(0) }, ...HEADER },
  { name: 'a block of 3 MiB', patch: { of: 'header', at: 32, bytes: u32(3 * MIB) }, ...HEADER },
  {
    name: 'a block of 256 KiB',
    patch: { of: 'header', at: 32, bytes: u32(256 * 1024) },
    code: 'image-unsupported',
    ...HEADER,
  },
  {
    name: 'a block of 2 GiB',
    patch: { of: 'header', at: 32, bytes: u32(2 ** 31) },
    code: 'image-unsupported',
    ...HEADER,
  },
  { name: 'too few entries', patch: { of: 'header', at: 28, bytes: u32(3) }, ...HEADER },
  { name: 'a table at 0', patch: { of: 'header', at: 16, bytes: u64(0n) }, ...HEADER },
  { name: 'a table far away', patch: { of: 'header', at: 16, bytes: u64(2n ** 63n) }, ...HEADER },
  { name: 'a wrong cookie', patch: { of: 'header', at: 0, bytes: 'cxsparsf' }, ...HEADER },
  {
    name: 'a header of version 2',
    patch: { of: 'header', at: 24, bytes: u32(0x2_0000) },
    code: 'image-unsupported',
    ...HEADER,
  },
  {
    name: 'a block at the copy of the footer',
    patch: table(1, 0),
    structure: TABLE,
    offset: TABLE_AT + 4,
  },
  { name: 'a block at the header', patch: table(1, 1), structure: TABLE, offset: TABLE_AT + 4 },
  { name: 'a block at the table', patch: table(3, 3), structure: TABLE, offset: TABLE_AT + 12 },
  {
    name: 'a block beyond the end',
    patch: table(2, 0xffff_fffe),
    structure: TABLE,
    offset: TABLE_AT + 8,
  },
];

for (const { name, patch, code = 'image-damaged', structure, offset } of HOSTILE) {
  test(`${name} is refused`, async () => {
    for (const kind of ['dynamic', 'differencing']) {
      await assertFails(patched(image(kind), patch), code, structure, offset);
    }
  });
}

test('two blocks in one place are refused, and overlapping ones', async () => {
  for (const kind of ['dynamic', 'differencing']) {
    const sector = image(kind).readUInt32BE(TABLE_AT);
    await assertFails(patched(image(kind), table(3, sector)), 'image-damaged', TABLE, TABLE_AT);
    const at = TABLE_AT + 12;
    await assertFails(patched(image(kind), table(3, sector + 1)), 'image-damaged', TABLE, at);
  }
});

test('hostile footers are refused', async () => {
  const cases: [at: number, bytes: Buffer, code: ErrorCode][] = [
    [12, u32(0x2_0000), 'image-unsupported'],
    [60, u32(0), 'image-unsupported'],
    [60, u32(6), 'image-unsupported'],
    [48, u64(2n ** 64n - 1n), 'image-unsupported'],
    [48, u64(2040n * 1024n ** 3n + 512n), 'image-unsupported'],
    [16, u64(0n), 'image-damaged'],
    [16, u64(2n ** 64n - 1n), 'image-damaged'],
  ];
  const bytes = image('dynamic');
  for (const [at, value, code] of cases) {
    await assertFails(
      patched(bytes, { of: 'footer', at, bytes: value }),
      code,
      'footer',
      bytes.length - 512,
    );
  }
  const large = { of: 'footer', at: 48, bytes: u64(2040n * 1024n ** 3n) } as const;
  await assertFails(patched(bytes, large), 'image-damaged', 'dynamic header', 512);
  const fixed = Buffer.from(image('fixed'));
  u64(BigInt(SIZE_BYTES + 512)).copy(fixed, SIZE_BYTES + 48);
  await assertFails(withChecksums(fixed), 'image-damaged', 'footer', SIZE_BYTES);
});

test('a flipped bit of a sector bitmap gives the sector of the parent, and no failure', async () => {
  const bytes = Buffer.from(image('differencing'));
  const at = bytes.readUInt32BE(TABLE_AT) * 512;
  bytes[at]! ^= 0x08;
  const expected = Buffer.from(contents.get('differencing')!);
  contents.get('dynamic')!.copy(expected, 4 * 512, 4 * 512, 5 * 512);
  contents.set('flipped', expected);
  await assertReads('flipped', bytes);
});

test('no change of bytes gives anything but the failures of the table', async () => {
  const random = seededRandom(17);
  const codes = new Map<string, number>();
  for (let round = 0; round < 2500; round++) {
    const name = ['fixed', 'dynamic', 'differencing'][round % 3]!;
    const bytes = mutated(image(name), random);
    const code = await outcomeOf(bytes).catch((error: unknown) => {
      assert.ok(isCofferError(error), `round ${round}: ${String(error)}`);
      return error.code;
    });
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  for (const code of ['read', 'image-damaged', 'image-unsupported']) {
    assert.ok((codes.get(code) ?? 0) > 30, `${code}: ${codes.get(code)}`);
  }
});

/** Changes in the structures, half of the time with checksums that are right again. */
function mutated(whole: Buffer, random: Random): Buffer {
  const cut = random.fraction() < 0.1 ? Math.floor(random.fraction() * whole.length) : undefined;
  const bytes = Buffer.from(whole.subarray(0, cut));
  for (let count = 1 + Math.floor(random.fraction() * 3); count > 0; count--) {
    const inFooter = random.fraction() < 0.4;
    const base = inFooter ? Math.max(0, bytes.length - 512) : 0;
    const span = [100, 700, 5000][Math.floor(random.fraction() * 3)]!;
    const at = base + Math.floor(random.fraction() * Math.min(span, bytes.length - base));
    const value = [0, 0xff, 1, Math.floor(random.fraction() * 256)][
      Math.floor(random.fraction() * 4)
    ]!;
    const end = at + 2 ** Math.floor(random.fraction() * 4);
    bytes.fill(value, at, Math.min(end, bytes.length));
  }
  const canSeal = bytes.length >= 2048 && random.fraction() < 0.7;
  return canSeal ? withChecksums(bytes) : bytes;
}

async function outcomeOf(bytes: Buffer): Promise<'read'> {
  const opened = await readImage('image.vhd', new MemoryFile(bytes));
  const parents = opened.footer.type === 'differencing' ? [await read(image('dynamic'))] : [];
  const disk = opened.blocks
    ? await openBlockVhd(opened, parents)
    : new LayeredDisk([layerOf(opened)], visibleSizeBytes(opened.footer));
  const target = Buffer.alloc(Math.min(disk.sizeBytes, 64 * 1024));
  await disk.read(0, target);
  await disk.read(disk.sizeBytes - target.length, target);
  for await (const extent of disk.extents()) assert.ok(extent.length > 0);
  if ('write' in disk) {
    await disk.write(0, target);
    await disk.zero(disk.sizeBytes - target.length, target.length);
    await disk.flush();
  }
  return 'read';
}
