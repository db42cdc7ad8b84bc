// Links of Windows, files that it compressed as a whole, and contents that cannot be read: what
// ntfs-3g writes as attributes, but does not read itself.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import { setAttribute } from '@coffer/base/libc.ts';
import { nodeAt, readAt } from '../testing/file-system-contract.ts';
import { memoryDisk, patchedDisk } from '../testing/memory-disk.ts';
import type { FileSystem } from '../file-system.ts';
import { openNtfs } from './ntfs.ts';
import { withNtfs } from './testing/ntfs-image.ts';
import { compressXpress } from './testing/xpress-encoder.ts';

const MIB = 1024 * 1024;
const TAG = {
  mountPoint: 0xa000_0003,
  symlink: 0xa000_000c,
  deduplicated: 0x8000_0013,
  compressed: 0x8000_0017,
  cloud: 0x9000_001a,
} as const;
const ALGORITHM = { xpress4k: 0, lzx: 1, xpress8k: 2, xpress16k: 3 } as const;

async function withFileSystem(
  fill: (folder: string) => void,
  check: (fileSystem: FileSystem, image: Buffer) => Promise<void>,
): Promise<void> {
  await withNtfs({ sizeBytes: 8 * MIB }, fill, async ({ path }) => {
    const image = readFileSync(path);
    await check(await openNtfs(memoryDisk(image)), image);
  });
}

function setReparse(path: string, tag: number, data: Buffer): void {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(tag, 0);
  head.writeUInt16LE(data.length, 4);
  const name = Buffer.from('system.ntfs_reparse_data');
  setAttribute(Buffer.from(path), name, Buffer.concat([head, data]));
}

function uint32(...values: readonly number[]): Buffer {
  return Buffer.concat(
    values.map((value) => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32LE(value);
      return bytes;
    }),
  );
}

/** Both names, with their places and lengths before them. */
function names(substitute: string, shown: string, flags: Buffer): Buffer {
  const substituteBytes = Buffer.from(substitute, 'utf16le');
  const shownBytes = Buffer.from(shown, 'utf16le');
  const places = Buffer.alloc(8);
  places.writeUInt16LE(0, 0);
  places.writeUInt16LE(substituteBytes.length, 2);
  places.writeUInt16LE(substituteBytes.length, 4);
  places.writeUInt16LE(shownBytes.length, 6);
  return Buffer.concat([places, flags, substituteBytes, shownBytes]);
}

test('symbolic links and junctions lead where Windows says', async () => {
  const fill = (folder: string) => {
    const link = (name: string, tag: number, data: Buffer) => {
      mkdirSync(join(folder, name));
      setReparse(join(folder, name), tag, data);
    };
    link('relative', TAG.symlink, names('..\\other\\ü', '..\\other\\ü', uint32(1)));
    link('absolute', TAG.symlink, names('\\??\\C:\\Windows', 'C:\\Windows', uint32(0)));
    link('junction', TAG.mountPoint, names('\\??\\D:\\data', '', Buffer.alloc(0)));
  };
  await withFileSystem(fill, async (fileSystem) => {
    const targets = { relative: '../other/ü', absolute: 'C:\\Windows', junction: 'D:\\data' };
    for (const [name, target] of Object.entries(targets)) {
      const node = await nodeAt(fileSystem, name);
      assert.equal(node.type, 'symlink');
      assert.equal(String(node.linkTarget), target);
    }
  });
});

/** Pieces that are compressed, or stored where that is no smaller, behind the table of places. */
function compressedContent(content: Buffer, pieceBytes: number): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at < content.length; at += pieceBytes) {
    const piece = content.subarray(at, at + pieceBytes);
    const compressed = compressXpress(piece);
    pieces.push(compressed.length < piece.length ? compressed : piece);
  }
  let place = 0;
  const places = pieces.slice(0, -1).map((piece) => (place += piece.length));
  return Buffer.concat([uint32(...places), ...pieces]);
}

function makeCompressed(
  path: string,
  content: Buffer,
  algorithm: number,
  pieceBytes: number,
): void {
  writeFileSync(path, '');
  truncateSync(path, content.length);
  const stream = compressedContent(content, pieceBytes);
  setAttribute(Buffer.from(path), Buffer.from('user.WofCompressedData'), stream);
  setReparse(path, TAG.compressed, uint32(1, 2, 1, algorithm));
}

test('files that Windows compressed as a whole are read at any place', async () => {
  const random = seededRandom(8);
  const words = Array.from({ length: 50 }, () => random.bytes(3).toString('hex'));
  const parts = Array.from({ length: 9000 }, () => words[Math.floor(random.fraction() * 50)]!);
  // A part in the middle cannot be made smaller, and is stored.
  const content = Buffer.concat([
    Buffer.from(parts.join(' ')).subarray(0, 40_000),
    random.bytes(20_000),
    Buffer.alloc(37_001, 'the end '),
  ]);
  const sizes = { xpress4k: 4096, xpress8k: 8192, xpress16k: 16_384 } as const;
  const fill = (folder: string) => {
    for (const [name, pieceBytes] of Object.entries(sizes)) {
      const algorithm = ALGORITHM[name as keyof typeof sizes];
      makeCompressed(join(folder, name), content, algorithm, pieceBytes);
      const small = join(folder, `small ${name}`);
      makeCompressed(small, content.subarray(0, 700), algorithm, pieceBytes);
    }
  };
  await withFileSystem(fill, async (fileSystem) => {
    for (const name of Object.keys(sizes)) {
      const node = await nodeAt(fileSystem, name);
      assert.equal(node.sizeBytes, content.length);
      assert.ok(
        !node.extendedAttributes.some((attribute) => String(attribute.name).includes('Wof')),
      );
      assert.ok((await readAt(fileSystem, node, 0, 200_000)).equals(content), name);
      for (const [offset, length] of [
        [4095, 2],
        [39_000, 30_000],
        [96_000, 5000],
        [8192, 4096],
      ] as const) {
        const part = await readAt(fileSystem, node, offset, length);
        assert.ok(part.equals(content.subarray(offset, offset + length)), `${name} at ${offset}`);
      }
      const small = await nodeAt(fileSystem, `small ${name}`);
      const bytes = await readAt(fileSystem, small, 0, 1000);
      assert.ok(bytes.equals(content.subarray(0, 700)), `small ${name}`);
    }
  });
});

test('contents that are not there, or not readable, are refused and never made up', async () => {
  const fill = (folder: string) => {
    for (const name of ['lzx', 'deduplicated', 'cloud', 'encrypted', 'present']) {
      writeFileSync(join(folder, name), 'content');
    }
    const stream = Buffer.from('user.WofCompressedData');
    setAttribute(Buffer.from(join(folder, 'lzx')), stream, Buffer.alloc(100));
    setReparse(join(folder, 'lzx'), TAG.compressed, uint32(1, 2, 1, ALGORITHM.lzx));
    setReparse(join(folder, 'deduplicated'), TAG.deduplicated, Buffer.alloc(80));
    const flags = Buffer.from('system.ntfs_attrib_be');
    setAttribute(Buffer.from(join(folder, 'cloud')), flags, Buffer.from([0, 0, 0x10, 0]));
    setReparse(join(folder, 'cloud'), TAG.cloud, Buffer.alloc(20));
    setReparse(join(folder, 'present'), TAG.cloud, Buffer.alloc(20));
  };
  await withFileSystem(fill, async (fileSystem, image) => {
    const { inode } = await nodeAt(fileSystem, 'encrypted');
    const patched = await openNtfs(patchedDisk(memoryDisk(image), [encryptedFlag(image, inode)]));
    for (const name of ['lzx', 'deduplicated', 'cloud', 'encrypted']) {
      const node = await nodeAt(patched, name);
      assert.equal(node.type, 'file');
      await assert.rejects(readAt(patched, node, 0, 10), (error) =>
        isCofferError(error, 'file-system-unsupported'),
      );
    }
    const present = await nodeAt(patched, 'present');
    assert.equal(String(await readAt(patched, present, 0, 10)), 'content');
  });
});

/** Says in the attribute with the content of a file that it is encrypted. */
function encryptedFlag(image: Buffer, inode: bigint): { offset: number; bytes: Buffer } {
  const table = Number(image.readBigUInt64LE(0x30)) * 4096;
  const record = table + Number(inode) * 1024;
  let at = record + image.readUInt16LE(record + 20);
  while (image.readUInt32LE(at) !== 0x80) at += image.readUInt32LE(at + 4);
  return { offset: at + 12, bytes: Buffer.from([0, 0x40]) };
}

test('what is read-only in Windows is read-only', async () => {
  const fill = (folder: string) => {
    for (const name of ['file', 'read-only file']) writeFileSync(join(folder, name), '');
    const flags = Buffer.from('system.ntfs_attrib_be');
    setAttribute(Buffer.from(join(folder, 'read-only file')), flags, Buffer.from([0, 0, 0, 1]));
  };
  await withFileSystem(fill, async (fileSystem) => {
    assert.equal(fileSystem.root.mode, 0o755);
    assert.equal((await nodeAt(fileSystem, 'file')).mode, 0o644);
    assert.equal((await nodeAt(fileSystem, 'read-only file')).mode, 0o444);
  });
});
