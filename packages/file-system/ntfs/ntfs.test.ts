// Reads volumes that mkntfs made and ntfs-3g filled, and compares with what ntfs-3g reads.

import assert from 'node:assert/strict';
import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isCofferError, required, seededRandom, systemErrorCode } from '@coffer/base';
import { getAttribute, setAttribute } from '@coffer/base/libc.ts';
import { openRawDisk } from '@coffer/disk/raw.ts';
import { assertTree, damageContract, nodeAt, readAt } from '../testing/file-system-contract.ts';
import { memoryDisk, patchedDisk } from '../testing/memory-disk.ts';
import { openNtfs, readNtfsLabel } from './ntfs.ts';
import {
  describeNtfs,
  type NtfsImage,
  type NtfsImageOptions,
  withNtfs,
} from './testing/ntfs-image.ts';

const MIB = 1024 * 1024;
const random = seededRandom(4);

/** Bytes that compress well, but not to nothing. */
function prose(sizeBytes: number): Buffer {
  const words = Array.from({ length: 300 }, () => random.bytes(4).toString('hex'));
  let text = '';
  while (text.length < sizeBytes) {
    text += `${words[Math.floor(random.fraction() * words.length)]} `;
  }
  return Buffer.from(text.slice(0, sizeBytes));
}

const SENTENCE = 'A sentence that repeats. ';

/** What is written in it is compressed: FILE_ATTRIBUTE_COMPRESSED. */
function makeCompressedFolder(path: string): void {
  mkdirSync(path);
  const name = Buffer.from('system.ntfs_attrib_be');
  setAttribute(Buffer.from(path), name, Buffer.from([0, 0, 0x08, 0]));
}

/** Gives each file another owner; descriptors that are set are kept in the file $Secure. */
function setDescriptors(folder: string, names: readonly string[]): void {
  const attribute = Buffer.from('system.ntfs_acl');
  const descriptor = required(
    getAttribute(Buffer.from(join(folder, names[0]!)), attribute),
    'it has one',
  );
  for (const [index, name] of names.entries()) {
    // The last number of the identifier that the owner begins with (MS-DTYP 2.4.6 and 2.4.2.2).
    descriptor.writeUInt32LE(1000 + index, descriptor.readUInt32LE(4) + 12);
    setAttribute(Buffer.from(join(folder, name)), attribute, descriptor);
  }
}

function holds(name: string, options: NtfsImageOptions, fill: (folder: string) => void): void {
  test(name, async () => {
    await withNtfs(options, fill, async ({ path, folder }) => {
      const fileSystem = await openNtfs(await openRawDisk(path));
      try {
        await assertTree(fileSystem, describeNtfs(folder));
      } finally {
        await fileSystem.close();
      }
    });
  });
}

holds('reads files of all kinds as ntfs-3g does', { sizeBytes: 64 * MIB }, (folder) => {
  const at = (path: string) => join(folder, path);
  writeFileSync(at('empty'), '');
  writeFileSync(at('resident.txt'), 'in the record itself');
  writeFileSync(at('large'), random.bytes(5 * MIB + 3));
  writeFileSync(at('sparse'), 'begin');
  truncateSync(at('sparse'), 3 * 1024 * MIB);
  const sparse = openSync(at('sparse'), 'r+');
  writeSync(sparse, Buffer.from('in the middle'), 0, 13, 2 * 1024 * MIB + 77);
  closeSync(sparse);
  for (const name of [
    'a',
    'Ünïcode',
    '日本語',
    'e\u0301',
    '🎉',
    'x'.repeat(255),
    'with space.',
    'A.b.C',
  ]) {
    writeFileSync(at(name), name);
  }
  mkdirSync(at('folder/in folder/deep'), { recursive: true });
  linkSync(at('large'), at('folder/hard link'));
  linkSync(at('empty'), at('other empty'));
  symlinkSync('../resident.txt', at('folder/link'));
  symlinkSync('/an/absolute/path/ü', at('absolute link'));
  setAttribute(Buffer.from(at('a')), Buffer.from('user.Zone.Identifier'), Buffer.from('[Zone]\n3'));
  setAttribute(Buffer.from(at('a')), Buffer.from('user.large'), random.bytes(60_000));
  setAttribute(Buffer.from(at('folder')), Buffer.from('user.of a folder'), Buffer.from('x'));
  setDescriptors(folder, ['a', 'large', 'folder', 'sparse']);
  utimesSync(at('a'), 12345.6789, 1.0000001);
  utimesSync(at('folder'), -5000, -86400 * 365);
});

for (const clusterBytes of [512, 1024, 4096]) {
  const options = { sizeBytes: 64 * MIB, clusterBytes };
  holds(`reads compressed files (clusters of ${clusterBytes} bytes)`, options, (folder) => {
    const compressed = join(folder, 'compressed');
    makeCompressedFolder(compressed);
    const mixed = Buffer.concat([
      prose(200_000),
      random.bytes(100_000),
      Buffer.alloc(300_000),
      prose(70_001),
    ]);
    writeFileSync(join(compressed, 'mixed'), mixed);
    writeFileSync(join(compressed, 'prose'), prose(2 * MIB + 5));
    writeFileSync(join(compressed, 'zeroes'), Buffer.alloc(200_000));
    writeFileSync(join(compressed, 'one byte'), 'x');
    writeFileSync(join(compressed, 'repeated'), Buffer.alloc(100_000, 'ab'));
    writeFileSync(join(compressed, 'random'), random.bytes(150_000));
    truncateSync(join(compressed, 'repeated'), 3_000_000);
  });
}

test('compressed files are stored compressed in these tests', async () => {
  const fill = (folder: string) => {
    makeCompressedFolder(join(folder, 'compressed'));
    writeFileSync(join(folder, 'compressed', 'same'), Buffer.alloc(640_000, SENTENCE));
  };
  await withNtfs({ sizeBytes: 16 * MIB }, fill, async ({ folder }) => {
    const { blocks } = statSync(join(folder, 'compressed', 'same'));
    assert.ok(blocks * 512 < 100_000, `${blocks} blocks`);
  });
});

const FRAGMENTED = { sizeBytes: 8 * MIB, clusterBytes: 512 };

/** A file in thousands of pieces, and a file table in many: every other small file makes room. */
function fillFragmented(folder: string): void {
  mkdirSync(join(folder, 'small'));
  const small = (index: number) => join(folder, 'small', `file ${index}`);
  const count = writeUntilFull((index) => writeFileSync(small(index), random.bytes(800)));
  for (let index = 0; index < count; index += 2) rmSync(small(index));
  writeFileSync(join(folder, 'fragmented'), random.bytes(count * 250));
  for (let index = 1; index < count; index += 8) rmSync(small(index));
  for (let index = 0; index < count / 4; index += 2) writeFileSync(small(index), 'again');
}

function writeUntilFull(write: (index: number) => void): number {
  for (let index = 0; ; index++) {
    try {
      write(index);
    } catch (error) {
      assert.equal(systemErrorCode(error), 'ENOSPC');
      return index;
    }
  }
}

holds('reads files in thousands of pieces', FRAGMENTED, fillFragmented);

holds('reads a folder of 5,000 names', { sizeBytes: 32 * MIB }, (folder) => {
  mkdirSync(join(folder, 'many'));
  for (let index = 0; index < 5000; index++) {
    writeFileSync(join(folder, 'many', `${index.toString(36)} ${'n'.repeat(index % 90)}`), '');
  }
});

for (const sizes of [
  { sectorBytes: 4096, clusterBytes: 4096 },
  { sectorBytes: 512, clusterBytes: 65_536 },
  { sectorBytes: 512, clusterBytes: 262_144 },
]) {
  const name = `sectors of ${sizes.sectorBytes}, clusters of ${sizes.clusterBytes} bytes`;
  holds(`reads volumes of other sizes (${name})`, { sizeBytes: 64 * MIB, ...sizes }, (folder) => {
    for (let index = 0; index < 160; index++) {
      writeFileSync(join(folder, `file ${index}`), random.bytes(index * 7));
    }
    writeFileSync(join(folder, 'large'), random.bytes(2 * MIB + 1));
  });
}

/** One image for tests that look at parts of it. */
async function withSmall(check: (image: NtfsImage, bytes: Buffer) => Promise<void>): Promise<void> {
  const fill = (folder: string) => {
    mkdirSync(join(folder, 'folder'));
    for (let index = 0; index < 300; index++) {
      writeFileSync(join(folder, 'folder', `Name ${index}`), String(index));
    }
    writeFileSync(join(folder, 'folder', 'name 7'), 'another case');
    writeFileSync(join(folder, 'content'), prose(100_000));
    writeFileSync(join(folder, 'ж'.repeat(255)), 'a long name');
  };
  await withNtfs({ sizeBytes: 8 * MIB }, fill, async (image) => {
    await check(image, readFileSync(image.path));
  });
}

test('finds each name by its case, in folders of many nodes', async () => {
  await withSmall(async (_image, bytes) => {
    const fileSystem = await openNtfs(memoryDisk(bytes));
    const folder = await nodeAt(fileSystem, 'folder');
    for (let index = 0; index < 300; index++) {
      const node = await nodeAt(fileSystem, `folder/Name ${index}`);
      assert.equal(String(await readAt(fileSystem, node, 0, 10)), String(index));
    }
    const other = await nodeAt(fileSystem, 'folder/name 7');
    assert.equal(String(await readAt(fileSystem, other, 0, 20)), 'another case');
    assert.equal(await fileSystem.find(folder, Buffer.from('NAME 7')), undefined);
    assert.equal(await fileSystem.find(folder, Buffer.from([0xff, 0xfe])), undefined);
  });
});

test('gives names that are too long for Linux as they are', async () => {
  await withSmall(async (_image, bytes) => {
    const fileSystem = await openNtfs(memoryDisk(bytes));
    const node = await nodeAt(fileSystem, 'ж'.repeat(255));
    assert.equal(node.name.length, 510);
    assert.equal(String(await readAt(fileSystem, node, 0, 20)), 'a long name');
  });
});

test('tells what the volume is called', async () => {
  await withSmall(async ({ path }, bytes) => {
    const { label, serial } = await readNtfsLabel(memoryDisk(bytes));
    assert.equal(label, 'Größe');
    assert.equal(serial, bytes.readBigUInt64LE(0x48).toString(16).toUpperCase().padStart(16, '0'));
    assert.ok(path);
  });
});

test('opens by the copy of the boot sector, and of the first records', async () => {
  await withSmall(async (_image, bytes) => {
    const clusterOfTable = Number(bytes.readBigUInt64LE(0x30));
    const patches = [
      { offset: 0, bytes: Buffer.alloc(512) },
      { offset: clusterOfTable * 4096, bytes: Buffer.alloc(1024) },
    ];
    const fileSystem = await openNtfs(patchedDisk(memoryDisk(bytes), patches));
    const node = await nodeAt(fileSystem, 'content');
    assert.equal((await readAt(fileSystem, node, 0, 200_000)).length, 100_000);
  });
});

test('a folder with a damaged file gives all others, then fails', async () => {
  await withSmall(async (_image, bytes) => {
    const whole = await openNtfs(memoryDisk(bytes));
    const { inode } = await nodeAt(whole, 'folder/Name 150');
    const table = Number(bytes.readBigUInt64LE(0x30)) * 4096;
    // The records that follow the 16 kept ones are in one piece on a volume that is new.
    const offset = table + Number(inode) * 1024;
    assert.equal(bytes.toString('latin1', offset, offset + 4), 'FILE');
    const torn = [{ offset: offset + 510, bytes: Buffer.from([0xab, 0xcd]) }];
    const fileSystem = await openNtfs(patchedDisk(memoryDisk(bytes), torn));
    const folder = await nodeAt(fileSystem, 'folder');
    const names: string[] = [];
    await assert.rejects(
      async () => {
        for await (const node of fileSystem.entries(folder)) names.push(String(node.name));
      },
      (error) => isCofferError(error, 'file-system-damaged'),
    );
    assert.equal(names.length, 300);
    assert.ok(!names.includes('Name 150'));
  });
});

test('what is no NTFS is not opened', async () => {
  for (const bytes of [Buffer.alloc(0), Buffer.alloc(511), Buffer.alloc(100_000)]) {
    await assert.rejects(openNtfs(memoryDisk(bytes)), (error) =>
      isCofferError(error, 'file-system-unknown'),
    );
  }
});

let damagedImage: Promise<Buffer> | undefined;

damageContract('ntfs', {
  image: () => {
    damagedImage ??= new Promise((resolve, reject) => {
      const fill = (folder: string) => {
        makeCompressedFolder(join(folder, 'compressed'));
        for (let index = 0; index < 4; index++) {
          writeFileSync(join(folder, 'compressed', `${index}`), prose(70_000));
        }
        fillFragmented(folder);
      };
      withNtfs({ sizeBytes: 3.5 * MIB, clusterBytes: 512 }, fill, async ({ path }) =>
        resolve(readFileSync(path)),
      ).catch(reject);
    });
    return damagedImage;
  },
  open: openNtfs,
  structures: (image) => [
    { offset: 0, length: 512 },
    // Records of the file system, and of the first files.
    { offset: Number(image.readBigUInt64LE(0x30)) * 512, length: 80 * 1024 },
    ...indexNodes(image),
  ],
  roundCount: 40,
});

function indexNodes(image: Buffer): { offset: number; length: number }[] {
  const found: { offset: number; length: number }[] = [];
  for (
    let at = image.indexOf('INDX');
    at >= 0 && found.length < 20;
    at = image.indexOf('INDX', at + 4)
  ) {
    found.push({ offset: at, length: 4096 });
  }
  return found;
}
