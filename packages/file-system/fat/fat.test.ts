import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import { describeFolder, type ExpectedTree, expectedFile } from '../testing/expected-tree.ts';
import {
  assertTree,
  damageContract,
  fileSystemContract,
  nodeAt,
  readAt,
} from '../testing/file-system-contract.ts';
import { memoryDisk } from '../testing/memory-disk.ts';
import { tool, withFolder } from '../testing/tool.ts';
import { openFat } from './fat.ts';
import { ExfatBuilder } from './testing/exfat-builder.ts';

const MIB = 1024 * 1024;
const ENVIRONMENT = { LC_ALL: 'C.UTF-8', TZ: 'UTC', MTOOLS_SKIP_CHECK: '1' };
const MODIFIED_SECONDS = 1_700_000_002;

function makeTree(root: string): void {
  const random = seededRandom(2);
  for (const sizeBytes of [0, 1, 511, 4096, 70_001]) {
    writeFileSync(join(root, `file-${sizeBytes}.bin`), random.bytes(sizeBytes));
  }
  mkdirSync(join(root, 'a/b/c'), { recursive: true });
  const names = ['SHORT.TXT', 'lower.txt', 'Mixed.Txt', 'no extension', 'Größe und Weite.dat'];
  names.push('x'.repeat(251), '.hidden', 'name.with.dots', 'ΑΒΓ ещё 漢字');
  for (const name of names) writeFileSync(join(root, 'a', name), name);
  mkdirSync(join(root, 'many'));
  for (let index = 0; index < 300; index++) {
    writeFileSync(join(root, 'many', `a rather long name, number ${index}`), String(index));
  }
  setTimes(root);
}

function setTimes(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) setTimes(path);
    utimesSync(path, MODIFIED_SECONDS, MODIFIED_SECONDS);
  }
}

interface Image {
  readonly bytes: Buffer;
  readonly expected: ExpectedTree;
}

/** A volume that mkfs.fat has made and mtools have filled, with a file in fragments. */
async function makeImage(sizeBytes: number, ...args: readonly string[]): Promise<Image> {
  return await withFolder(async (folder) => {
    const [source, image] = [join(folder, 'source'), join(folder, 'image')];
    await mkdir(source);
    makeTree(source);
    await writeFile(image, '');
    await truncate(image, sizeBytes);
    await tool('mkfs.fat', ['-n', 'LABEL', ...args, image]);
    const mtools = (name: string, ...rest: string[]) =>
      tool(name, ['-i', image, ...rest], { env: ENVIRONMENT });
    const filler = join(folder, 'filler');
    await writeFile(filler, Buffer.alloc(10_000));
    for (let index = 0; index < 30; index++) await mtools('mcopy', filler, `::filler-${index}`);
    for (let index = 0; index < 30; index += 2) await mtools('mdel', `::filler-${index}`);
    const names = readdirSync(source).map((name) => join(source, name));
    await mtools('mcopy', '-s', '-m', ...names, '::');
    for (let index = 1; index < 30; index += 2) await mtools('mdel', `::filler-${index}`);
    await tool('fsck.fat', ['-n', image]);
    const expected = describeFolder(source, { attributes: false, modes: false, root: false });
    return { bytes: await readFile(image), expected };
  });
}

const CASES: readonly [name: string, sizeBytes: number, ...args: string[]][] = [
  ['FAT12', 4 * MIB, '-F', '12'],
  ['FAT16', 20 * MIB, '-F', '16', '-s', '4'],
  ['FAT32', 70 * MIB, '-F', '32', '-s', '2'],
  ['FAT16 with sectors of 4096 bytes', 24 * MIB, '-F', '16', '-S', '4096', '-s', '1'],
];

const images = new Map<string, Promise<Image>>();

for (const [name, sizeBytes, ...args] of CASES) {
  const image = makeImage(sizeBytes, ...args);
  images.set(name, image);
  fileSystemContract(name, async () => {
    const { bytes, expected } = await image;
    return { fileSystem: await openFat(memoryDisk(bytes)), expected };
  });
}

for (const name of ['FAT12', 'FAT32']) {
  damageContract(name, {
    image: async () => (await images.get(name)!).bytes,
    open: openFat,
    roundCount: 60,
    structures: (bytes) => [
      { offset: 0, length: 512 },
      { offset: 512, length: 64 * 1024 },
      { offset: 0, length: bytes.length / 8 },
    ],
  });
}

test('a chain that leads into itself is told as damage', async () => {
  const { bytes } = (await images.get('FAT32'))!;
  const table = bytes.readUInt16LE(14) * 512;
  const whole = await openFat(memoryDisk(bytes));
  const file = await whole.find(whole.root, Buffer.from('file-70001.bin'));
  const first = file!.entry.firstCluster;
  for (const length of [1, 2, 3, 20]) {
    const image = Buffer.from(bytes);
    let last = first;
    for (let index = 1; index < length; index++) last = image.readUInt32LE(table + last * 4);
    image.writeUInt32LE(first, table + last * 4);
    const fileSystem = await openFat(memoryDisk(image));
    const looping = await fileSystem.find(fileSystem.root, Buffer.from('file-70001.bin'));
    await assert.rejects(readAt(fileSystem, looping!, 0, 10), (error) =>
      isCofferError(error, 'file-system-damaged'),
    );
  }
});

test('a read-only file may not be written, and a label is no file', async () => {
  const bytes = await withFolder(async (folder) => {
    const image = join(folder, 'image');
    await writeFile(image, '');
    await truncate(image, MIB);
    await tool('mkfs.fat', ['-n', 'LABEL', image]);
    await tool('mcopy', ['-i', image, '-', '::locked'], { input: 'locked', env: ENVIRONMENT });
    await tool('mattrib', ['-i', image, '+r', '::locked'], { env: ENVIRONMENT });
    return await readFile(image);
  });
  const fileSystem = await openFat(memoryDisk(bytes));
  assert.equal((await nodeAt(fileSystem, 'locked')).mode, 0o444);
  assert.equal(await fileSystem.find(fileSystem.root, Buffer.from('LABEL')), undefined);
});

/** What the builder puts into an exFAT volume. */
function exfatFiles() {
  const random = seededRandom(6);
  const content = (sizeBytes: number): Buffer => random.bytes(sizeBytes);
  const small = { name: 'small.txt', content: content(100), isContiguous: true };
  const empty = { name: 'empty', content: Buffer.alloc(0), isContiguous: true };
  const chained = { name: 'chained', content: content(50_000), isContiguous: false };
  const long = { name: `Größe ${'y'.repeat(200)}`, content: content(9000), isContiguous: true };
  const partly = {
    name: 'partly valid',
    content: content(20_000),
    isContiguous: true,
    validBytes: 7000,
  };
  return { small, empty, chained, long, partly };
}

async function exfatImage(): Promise<Image> {
  const { small, empty, chained, long, partly } = exfatFiles();
  const inner = { name: 'inner', content: undefined, entries: [long], isContiguous: false };
  const folder = {
    name: 'folder',
    content: undefined,
    entries: [partly, inner],
    isContiguous: true,
  };
  const bytes = await withFolder(async (path) => {
    const image = join(path, 'image');
    await writeFile(image, '');
    await truncate(image, 8 * MIB);
    await tool('mkfs.exfat', ['-L', 'EXLABEL', image]);
    const built = await readFile(image);
    new ExfatBuilder(built).addToRoot([small, empty, chained, folder]);
    await writeFile(image, built);
    await tool('fsck.exfat', ['-n', image]);
    return built;
  });
  const modifiedNs = BigInt(Date.UTC(2024, 5, 15, 8, 20, 30, 550)) * 1_000_000n;
  const valid = Buffer.concat([partly.content.subarray(0, 7000)], 20_000);
  return {
    bytes,
    expected: {
      '': { type: 'directory' },
      'small.txt': { ...expectedFile(small.content), modifiedNs, mode: 0o644 },
      empty: { ...expectedFile(empty.content), modifiedNs },
      chained: expectedFile(chained.content),
      folder: { type: 'directory', mode: 0o755, modifiedNs },
      'folder/partly valid': expectedFile(valid),
      'folder/inner': { type: 'directory' },
      [`folder/inner/${long.name}`]: expectedFile(long.content),
    },
  };
}

const exfat = exfatImage();

fileSystemContract('exFAT', async () => {
  const { bytes, expected } = await exfat;
  return { fileSystem: await openFat(memoryDisk(bytes)), expected };
});

damageContract('exFAT', {
  image: async () => (await exfat).bytes,
  open: openFat,
  structures: (bytes) => {
    const sectorBytes = 2 ** bytes[108]!;
    return [
      { offset: 0, length: 120 },
      { offset: bytes.readUInt32LE(80) * sectorBytes, length: 4096 },
      { offset: bytes.readUInt32LE(88) * sectorBytes, length: 200_000 },
    ];
  },
});

test('an exFAT name whose records are damaged is told, and the others are given', async () => {
  const { bytes, expected } = await exfat;
  const image = Buffer.from(bytes);
  const place = image.indexOf(Buffer.from('small.txt', 'utf16le'));
  image[place + 2]! ^= 1;
  const fileSystem = await openFat(memoryDisk(image));
  const found: string[] = [];
  await assert.rejects(
    async () => {
      for await (const { name } of fileSystem.entries(fileSystem.root)) found.push(String(name));
    },
    (error) => isCofferError(error, 'file-system-damaged') && error.details.damagedCount === 1,
  );
  const names = Object.keys(expected).filter((path) => path !== '' && !path.includes('/'));
  assert.deepEqual(found.sort(), names.filter((name) => name !== 'small.txt').sort());
});

test('a volume of which nothing is left but its boot sector is told as damage', async () => {
  const { bytes } = (await images.get('FAT16'))!;
  const run = async () => {
    const fileSystem = await openFat(memoryDisk(bytes.subarray(0, 600)));
    await assertTree(fileSystem, {});
  };
  await assert.rejects(run, (error) => isCofferError(error));
});
