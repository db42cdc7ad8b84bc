// Reads volumes that mkfs.xfs made and Linux filled, and compares with what Linux reads.

import assert from 'node:assert/strict';
import {
  closeSync,
  constants,
  copyFileSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import { makeNode, punchHole, setAttribute } from '@coffer/base/libc.ts';
import type { Disk } from '@coffer/disk/disk.ts';
import { openRawDisk } from '@coffer/disk/raw.ts';
import { crc32c, CRC32C_START } from '../ext4/crc32c.ts';
import { describeFolder, type ExpectedTree } from '../testing/expected-tree.ts';
import { assertTree, damageContract, nodeAt } from '../testing/file-system-contract.ts';
import { memoryDisk, patchedDisk } from '../testing/memory-disk.ts';
import { tool, withFolder } from '../testing/tool.ts';
import { describeXfs, makeXfs, withXfs } from './testing/xfs-image.ts';
import { openXfs } from './xfs.ts';

const MIB = 1024 * 1024;
const random = seededRandom(5);

async function assertHolds(path: string, expected: ExpectedTree): Promise<void> {
  const fileSystem = await openXfs(await openRawDisk(path));
  try {
    await assertTree(fileSystem, expected);
  } finally {
    await fileSystem.close();
  }
}

function holds(name: string, options: readonly string[], fill: (folder: string) => void): void {
  test(name, async () => {
    await withXfs(options, fill, ({ path, folder }) => assertHolds(path, describeXfs(folder)));
  });
}

function fillFiles(folder: string): void {
  const at = (path: string) => join(folder, path);
  writeFileSync(at('empty'), '');
  writeFileSync(at('small'), 'some bytes');
  writeFileSync(at('large'), random.bytes(3 * MIB + 3));
  mkdirSync(at('folder/in folder/deep'), { recursive: true });
  linkSync(at('large'), at('folder/hard link'));
  for (const length of [1, 100, 300, 400, 900, 1023]) {
    symlinkSync(`${'t'.repeat(length - 1)}x`, at(`link of ${length}`));
  }
  for (const name of ['Ünïcode', '日本語', 'x'.repeat(255), '..a', ' '])
    writeFileSync(at(name), name);
  makeNode(Buffer.from(at('fifo')), 0o010644, 0n);
  makeNode(Buffer.from(at('socket')), 0o140600, 0n);
  makeNode(Buffer.from(at('character')), 0o020640, 0x1_0203n);
  makeNode(Buffer.from(at('block')), 0o060640, 0x1110_0870n);
  utimesSync(at('small'), 1, 12345.678901);
  utimesSync(at('empty'), -5000, -86_400.5);
  execFileSync('chown', ['1234:5678', at('small')]);
  execFileSync('chmod', ['7751', at('small')]);
}

function fillSparse(folder: string): void {
  const at = (path: string) => join(folder, path);
  writeFileSync(at('sparse'), 'begin');
  truncateSync(at('sparse'), 3 * 1024 ** 4);
  const sparse = openSync(at('sparse'), 'r+');
  writeSync(sparse, Buffer.from('in the middle'), 0, 13, 2 * 1024 ** 4 + 77);
  closeSync(sparse);
  execFileSync('fallocate', ['-l', '3M', at('reserved')]);
  const reserved = openSync(at('reserved'), 'r+');
  writeSync(reserved, random.bytes(100_000), 0, 100_000, MIB + 17);
  closeSync(reserved);
  fillFragmented(at('fragmented'), 12 * MIB);
  copyFileSync(at('fragmented'), at('shared blocks'), constants.COPYFILE_FICLONE_FORCE);
}

/** Every other 4 KiB are holes, so that there is an extent for each. */
function fillFragmented(path: string, sizeBytes: number): void {
  writeFileSync(path, random.bytes(sizeBytes));
  const file = openSync(path, 'r+');
  for (let offset = 0; offset < sizeBytes; offset += 8192) assert.ok(punchHole(file, offset, 4096));
  closeSync(file);
}

function fillAttributes(folder: string): void {
  const set = (path: string, name: string, value: Buffer) =>
    setAttribute(Buffer.from(join(folder, path)), Buffer.from(name), value);
  for (const name of ['few', 'many', 'large', 'list']) writeFileSync(join(folder, name), name);
  mkdirSync(join(folder, 'inherited'));
  set('few', 'user.a', Buffer.from('value'));
  set('few', 'user.empty', Buffer.alloc(0));
  set('few', 'trusted.b', Buffer.from([0, 1, 255]));
  set('few', 'security.c', Buffer.from('c'));
  for (let index = 0; index < 400; index++) {
    set('many', `user.${index} ${'n'.repeat(index % 80)}`, random.bytes(index % 150));
  }
  for (const length of [500, 1000, 3000, 4096, 20_000, 65_536]) {
    set('large', `user.of ${length}`, random.bytes(length));
  }
  const list = Buffer.from('02000000010006ffffffffff02000600d204000004000400ffffffff', 'hex');
  const rest = Buffer.from('10000600ffffffff20000400ffffffff', 'hex');
  const entries = Buffer.concat([list, rest]);
  entries.set([0x06, 0x00], 6);
  set('list', 'system.posix_acl_access', entries);
  set('inherited', 'system.posix_acl_default', entries);
}

function fillFolders(folder: string): void {
  for (const count of [1, 5, 40, 120, 1000, 5000]) {
    const inside = join(folder, `folder of ${count}`);
    mkdirSync(inside);
    for (let index = 0; index < count; index++) {
      const path = join(inside, `${index.toString(36)} ${'n'.repeat(index % 60)}`);
      if (index % 40 === 0) mkdirSync(path);
      else writeFileSync(path, '');
    }
    for (let index = 1; index < count; index += 10) {
      rmSync(join(inside, `${index.toString(36)} ${'n'.repeat(index % 60)}`));
    }
  }
}

const VARIANTS: Readonly<Record<string, readonly string[]>> = {
  'blocks of 4096 bytes': [],
  'blocks of 1024 bytes': ['-b', 'size=1024'],
  'blocks of folders of 16 KiB, inodes of 1024 bytes': ['-n', 'size=16384', '-i', 'size=1024'],
  'large counts, old times': ['-i', 'nrext64=1', '-m', 'bigtime=0'],
};

for (const [variant, options] of Object.entries(VARIANTS)) {
  holds(`reads files as Linux does (${variant})`, options, (folder) => {
    fillFiles(folder);
    fillSparse(folder);
    fillAttributes(folder);
  });
}

for (const [variant, options] of Object.entries(VARIANTS).slice(0, 3)) {
  holds(`reads small and large folders (${variant})`, options, fillFolders);
}

test('tells times after 2038', async () => {
  const fill = (folder: string) => {
    writeFileSync(join(folder, 'late'), '');
    utimesSync(join(folder, 'late'), 1, 5_000_000_000);
  };
  await withXfs([], fill, async ({ path }) => {
    const fileSystem = await openXfs(await openRawDisk(path));
    assert.equal((await nodeAt(fileSystem, 'late')).modifiedNs, 5_000_000_000_000_000_000n);
    await fileSystem.close();
  });
});

// Version 4, which Linux no longer mounts everywhere: mkfs.xfs itself copies a folder.

const OLD_VARIANTS: Readonly<Record<string, readonly string[]>> = {
  'types in folders': ['-n', 'ftype=1'],
  'no types in folders': ['-n', 'ftype=0', '-b', 'size=1024'],
  'blocks of folders of 8 KiB': ['-n', 'ftype=0,size=8192'],
};

for (const [variant, options] of Object.entries(OLD_VARIANTS)) {
  test(`reads version 4 of the format (${variant})`, async () => {
    await withFolder(async (work) => {
      const source = join(work, 'source');
      const expected = fillOld(source);
      await makeOld(work, source, expected, options);
      await assertHolds(join(work, 'image'), expected);
    });
  });
}

function fillOld(source: string): ExpectedTree {
  mkdirSync(join(source, 'many'), { recursive: true });
  writeFileSync(join(source, 'small'), 'some bytes');
  writeFileSync(join(source, 'large'), random.bytes(2 * MIB + 3));
  symlinkSync('small', join(source, 'link'));
  symlinkSync('t'.repeat(700), join(source, 'long-link'));
  for (let index = 0; index < 2000; index++) {
    writeFileSync(join(source, 'many', `${index}-${'n'.repeat(index % 60)}`), '');
  }
  mkdirSync(join(source, 'few'));
  writeFileSync(join(source, 'few', 'one'), '1');
  return describeFolder(source, { attributes: false, times: false });
}

/** A prototype names what mkfs.xfs puts in: type and mode, owner, group, and where it is. */
async function makeOld(
  work: string,
  source: string,
  expected: ExpectedTree,
  options: readonly string[],
): Promise<void> {
  const letters = { directory: 'd', file: '-', symlink: 'l' } as Record<string, string>;
  const lines = ['/dev/null', '0 0'];
  const write = (path: string, name: string) => {
    const { type, mode = 0, linkTarget } = expected[path]!;
    const letter = letters[type]!;
    const target = type === 'file' ? join(source, path) : String(linkTarget ?? '');
    const bits = (mode & 0o777).toString(8).padStart(3, '0');
    lines.push(`${name} ${letter}--${bits} 0 0 ${target}`.trim());
    if (type !== 'directory') return;
    const prefix = path === '' ? '' : `${path}/`;
    for (const child of Object.keys(expected)) {
      const isChild = child !== '' && child.startsWith(prefix);
      if (isChild && !child.slice(prefix.length).includes('/')) {
        write(child, child.slice(prefix.length));
      }
    }
    lines.push('$');
  };
  write('', '');
  const prototype = join(work, 'prototype');
  writeFileSync(prototype, `${lines.join('\n')}\n`);
  await makeXfs(join(work, 'image'), ['-m', 'crc=0', ...options, '-p', prototype]);
}

test('reads attributes of version 4 of the format', async () => {
  await withFolder(async (work) => {
    const source = join(work, 'source');
    const expected = fillOld(source);
    await makeOld(work, source, expected, ['-b', 'size=1024']);
    const image = join(work, 'image');
    const fileSystem = await openXfs(await openRawDisk(image));
    const { inode } = await nodeAt(fileSystem, 'small');
    await fileSystem.close();
    const commands = ['attr_set -u -v 10 a', 'attr_set -r -v 900 b', 'attr_set -s -v 30000 c'];
    const args = commands.flatMap((command) => ['-c', command]);
    await tool('xfs_db', ['-x', '-c', `inode ${inode}`, ...args, image]);
    const again = await openXfs(await openRawDisk(image));
    const { extendedAttributes } = await nodeAt(again, 'small');
    await again.close();
    assert.deepEqual(
      extendedAttributes.map(({ name, value }) => [String(name), value.length]),
      [
        ['security.c', 30_000],
        ['trusted.b', 900],
        ['user.a', 10],
      ],
    );
    const isSame = ({ value }: { value: Buffer }) => value.every((byte) => byte === value[0]);
    assert.ok(extendedAttributes.every(isSame));
  });
});

test('what is no XFS, or uses what is not known, is not opened', async () => {
  for (const bytes of [Buffer.alloc(0), Buffer.alloc(511), Buffer.alloc(100_000)]) {
    await assert.rejects(openXfs(memoryDisk(bytes)), (error) =>
      isCofferError(error, 'file-system-unknown'),
    );
  }
  await withFolder(async (work) => {
    const path = join(work, 'image');
    await makeXfs(path, []);
    const image = memoryDisk(readFileSync(path));
    const patches = [{ offset: 216, bytes: Buffer.from([0, 0, 1, 0]) }];
    await assert.rejects(openXfs(resealed(patchedDisk(image, patches))), (error) =>
      isCofferError(error, 'file-system-unsupported'),
    );
    await assert.rejects(openXfs(patchedDisk(image, patches)), (error) =>
      isCofferError(error, 'file-system-damaged'),
    );
  });
});

let damagedImage: Promise<Buffer> | undefined;

function imageToDamage(): Promise<Buffer> {
  damagedImage ??= new Promise((resolve, reject) => {
    const fill = (folder: string) => {
      fillAttributes(folder);
      fillFragmented(join(folder, 'fragmented'), 2 * MIB);
      symlinkSync('t'.repeat(900), join(folder, 'link'));
      for (const count of [2, 20, 300]) {
        mkdirSync(join(folder, `${count}`));
        for (let index = 0; index < count; index++) {
          writeFileSync(join(folder, `${count}`, `name ${index}`), 'x');
        }
      }
    };
    withXfs(['-b', 'size=1024'], fill, async ({ path }) => resolve(readFileSync(path))).catch(
      reject,
    );
  });
  return damagedImage;
}

damageContract('xfs', { image: imageToDamage, open: openXfs, structures, roundCount: 30 });

// The checksums find all damage that is not meant; what is meant has the right checksums.
damageContract('xfs with right checksums', {
  image: imageToDamage,
  open: (disk) => openXfs(resealed(disk)),
  structures,
  roundCount: 60,
});

/** Where the checksum of a structure is, by how it begins. */
function checksumAt(bytes: Uint8Array): number | undefined {
  const head = Buffer.from(bytes.subarray(0, 12)).toString('latin1');
  if (head.startsWith('XFSB')) return 224;
  if (head.startsWith('IN')) return 100;
  if (/^XD[BD]3/.test(head)) return 4;
  if (head.startsWith('BMA3')) return 64;
  if (/^X(SLM|ARM)/.test(head)) return 12;
  return ['\x3b\xee', '\x3e\xbe'].includes(head.slice(8, 10)) ? 12 : undefined;
}

/** The disk with the checksum put right in all that is read. */
function resealed(disk: Disk): Disk {
  return {
    sizeBytes: disk.sizeBytes,
    extents: (range) => disk.extents(range),
    close: () => disk.close(),
    async read(offset, target) {
      await disk.read(offset, target);
      const at = checksumAt(target);
      if (at === undefined || at + 4 > target.length) return;
      // The checksum of the superblock covers a sector of 512 bytes.
      const bytes = at === 224 ? target.subarray(0, 512) : target;
      bytes.fill(0, at, at + 4);
      new DataView(bytes.buffer, bytes.byteOffset).setUint32(
        at,
        ~crc32c(CRC32C_START, bytes),
        true,
      );
    },
  };
}

function structures(image: Buffer): { offset: number; length: number }[] {
  const found: { offset: number; length: number }[] = [];
  for (let offset = 0; offset < image.length; offset += 512) {
    const at = checksumAt(image.subarray(offset, offset + 512));
    // Values of attributes are many, and all alike.
    const isValue = image.toString('latin1', offset, offset + 4) === 'XARM';
    if (at !== undefined && !(isValue && offset % 8192 !== 0)) found.push({ offset, length: 512 });
  }
  return found;
}
