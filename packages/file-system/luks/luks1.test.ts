import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { CofferError, isCofferError, seededRandom } from '@coffer/base';
import { diskContract } from '@coffer/disk/testing/contract.ts';
import { openExt4 } from '../ext4/ext4.ts';
import { makeImage } from '../ext4/testing/mounted.ts';
import { nodeAt, readAt } from '../testing/file-system-contract.ts';
import { memoryDisk } from '../testing/memory-disk.ts';
import { withFolder } from '../testing/tool.ts';
import { openLuks } from './luks.ts';
import {
  changedImage,
  convertedImage,
  luks1Image,
  OTHER_PASSPHRASE,
  PASSPHRASE,
} from './testing/luks-image.ts';

const MIB = 1024 * 1024;
const KEY_SLOTS_OFFSET = 208;
const KEY_SLOT_BYTES = 48;

const QEMU_CASES = [
  [],
  ['cipher-alg=aes-128', 'cipher-mode=cbc', 'ivgen-alg=essiv', 'ivgen-hash-alg=sha256'],
] as const;

for (const options of QEMU_CASES) {
  diskContract(`LUKS1 by qemu-img ${options.join(' ')}`, async () => {
    const expected = seededRandom(1).bytes(3 * MIB + 512);
    const image = await luks1Image(expected, options);
    return { disk: await openLuks(memoryDisk(image), PASSPHRASE), expected };
  });
}

const CASES = [
  { cipher: 'aes-xts-plain64', keyBits: 256, hash: 'sha512' },
  { cipher: 'aes-xts-plain', keyBits: 512, hash: 'sha1' },
  { cipher: 'aes-cbc-essiv:sha256', keyBits: 256, hash: 'ripemd160' },
  { cipher: 'aes-cbc-plain64', keyBits: 192, hash: 'sha256' },
  { cipher: 'aes-cbc-plain', keyBits: 128, hash: 'sha256' },
] as const;

for (const options of CASES) {
  const { cipher, keyBits, hash } = options;
  diskContract(`LUKS1 by cryptsetup ${cipher} ${keyBits} ${hash}`, async () => {
    const expected = seededRandom(1).bytes(3 * MIB + 512);
    const image = await convertedImage(expected, options);
    return { disk: await openLuks(memoryDisk(image), PASSPHRASE), expected };
  });
}

const plain = seededRandom(2).bytes(64 * 1024);
const simple = convertedImage(plain);
const withTwoKeys = simple.then((image) =>
  changedImage(image, (path, newKeyFile) => [
    'luksAddKey',
    '--pbkdf-force-iterations',
    '1000',
    path,
    newKeyFile,
  ]),
);

async function content(image: Buffer, passphrase: Buffer): Promise<Buffer> {
  const disk = await openLuks(memoryDisk(image), passphrase);
  const bytes = Buffer.alloc(disk.sizeBytes);
  await disk.read(0, bytes);
  return bytes;
}

function slotAt(image: Buffer, index: number): Buffer {
  return image.subarray(KEY_SLOTS_OFFSET + index * KEY_SLOT_BYTES).subarray(0, KEY_SLOT_BYTES);
}

/** The image after `edit` has changed a copy of it. */
async function edited(edit: (image: Buffer) => void): Promise<Buffer> {
  const image = Buffer.from(await simple);
  edit(image);
  return image;
}

test('a wrong passphrase opens no key slot', async () => {
  const wanted = { code: 'volume-locked', message: /the passphrase opens no key slot/ };
  await assert.rejects(content(await simple, Buffer.from('wrong')), wanted);
  await assert.rejects(content(await simple, Buffer.alloc(0)), wanted);
});

test('every key slot is tried, and those that are disabled are not', async () => {
  const image = await withTwoKeys;
  assert.ok((await content(image, PASSPHRASE)).equals(plain));
  assert.ok((await content(image, OTHER_PASSPHRASE)).equals(plain));
  const killed = await changedImage(image, (path) => ['luksRemoveKey', path]);
  await assert.rejects(content(killed, PASSPHRASE), { code: 'volume-locked' });
  assert.ok((await content(killed, OTHER_PASSPHRASE)).equals(plain));
});

test('a damaged key slot, or one that costs too much, stops no other', async () => {
  const image = await withTwoKeys;
  const [state, iterations, area, stripes] = [0, 4, 40, 44];
  for (const field of [state, iterations, area, stripes]) {
    const damaged = Buffer.from(image);
    slotAt(damaged, 0).writeUInt32BE(0xffff_ffff, field);
    assert.ok((await content(damaged, OTHER_PASSPHRASE)).equals(plain));
    const details = { code: 'volume-locked', message: /unusableKeySlotCount: 1/ };
    await assert.rejects(content(damaged, PASSPHRASE), details);
  }
});

test('what a header asks for is bounded, and told', async () => {
  const cases: readonly [edit: (image: Buffer) => void, code: string, message: RegExp][] = [
    [(image) => image.fill(0, 0, 6), 'file-system-damaged', /magic/],
    [(image) => image.writeUInt16BE(3, 6), 'file-system-unsupported', /version 3/],
    [(image) => image.write('serpent\0', 8), 'file-system-unsupported', /serpent-xts-plain64/],
    [(image) => image.write('lrw-plain\0', 40), 'file-system-unsupported', /aes-lrw-plain/],
    [(image) => image.write('whirlpool\0', 72), 'file-system-unsupported', /hash "whirlpool"/],
    [(image) => image.writeUInt32BE(0, 104), 'file-system-unsupported', /detached/],
    [(image) => image.writeUInt32BE(0xffff_ffff, 104), 'file-system-damaged', /payload at/],
    [(image) => image.writeUInt32BE(0, 108), 'file-system-damaged', /key of 0 bytes/],
    [(image) => image.writeUInt32BE(2 ** 31, 108), 'file-system-damaged', /key of 2147483648/],
    [(image) => image.writeUInt32BE(33, 108), 'file-system-unsupported', /key of 33 bytes/],
    [(image) => image.writeUInt32BE(0, 164), 'file-system-damaged', /no iterations/],
    [(image) => image.writeUInt32BE(0xffff_ffff, 164), 'file-system-unsupported', /too much work/],
    [(image) => slotAt(image, 0).writeUInt32BE(2 ** 31, 4), 'file-system-unsupported', /too much/],
    [(image) => slotAt(image, 0).writeUInt32BE(0, 4), 'file-system-damaged', /no iterations/],
    [(image) => slotAt(image, 0).writeUInt32BE(0, 40), 'file-system-damaged', /in the header/],
    [(image) => slotAt(image, 0).writeUInt32BE(2 ** 31, 40), 'file-system-damaged', /beyond/],
    [(image) => slotAt(image, 0).writeUInt32BE(2 ** 31, 44), 'file-system-damaged', /stripes/],
  ];
  for (const [edit, code, message] of cases) {
    await assert.rejects(content(await edited(edit), PASSPHRASE), { code, message });
  }
});

test('a header that is cut or flipped at any place ends well, or with an error', async () => {
  const random = seededRandom(3);
  const image = await simple;
  for (const length of [0, 1, 591, 592, 4096, 100_000]) {
    await assert.rejects(content(image.subarray(0, length), PASSPHRASE), CofferError);
  }
  for (let round = 0; round < 60; round++) {
    const flipped = Buffer.from(image);
    const offset = Math.floor(random.fraction() * (KEY_SLOTS_OFFSET + KEY_SLOT_BYTES));
    flipped[offset]! ^= 1 << Math.floor(random.fraction() * 8);
    // Some flips ask for minutes of work, which is allowed.
    const isCostly = (offset >= 164 && offset < 166) || (offset >= 212 && offset < 214);
    if (isCostly) continue;
    const outcome = await content(flipped, PASSPHRASE).catch((error: unknown) => error);
    const isWell = Buffer.isBuffer(outcome) || isCofferError(outcome);
    assert.ok(isWell, `flipped at ${offset}: ${String(outcome)}`);
  }
});

test('the file system on a volume is read through it', async () => {
  await withFolder(async (folder) => {
    const source = join(folder, 'source');
    await mkdir(join(source, 'folder'), { recursive: true });
    const bytes = seededRandom(4).bytes(2 * MIB + 77);
    await writeFile(join(source, 'folder', 'file'), bytes);
    const path = join(folder, 'ext4');
    await makeImage(path, 8 * MIB, 'mke2fs', '-q', '-F', '-t', 'ext4', '-d', source);
    const image = await convertedImage(await readFile(path));
    const fileSystem = await openExt4(await openLuks(memoryDisk(image), PASSPHRASE));
    const file = await nodeAt(fileSystem, 'folder/file');
    assert.ok((await readAt(fileSystem, file, 0, bytes.length + 1)).equals(bytes));
    await fileSystem.close();
  });
});
