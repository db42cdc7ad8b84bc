// What damaged and hostile volumes make of a reader: errors that are told, in bounded time.

import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import { continueCrc32c, CRC32C_START } from '@coffer/base/crc32c.ts';
import { assertOnlyTold, damageContract, nodeAt } from '../testing/file-system-contract.ts';
import { memoryDisk, patchedDisk } from '../testing/memory-disk.ts';
import { withFolder } from '../testing/tool.ts';
import { fillAttributes, fillFolders, fillFragmented, MIB, random } from './testing/xfs-content.ts';
import { makeXfs, withXfs } from './testing/xfs-image.ts';
import { openXfs } from './xfs.ts';

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

test('finds names where the index is damaged', async () => {
  await withXfs([], fillFolders, async ({ path, folder }) => {
    const bytes = readFileSync(path);
    const isIndex = (offset: number) => [0x3df1, 0x3dff].includes(bytes.readUInt16BE(offset + 8));
    const patches: { offset: number; bytes: Buffer }[] = [];
    for (let offset = 0; offset < bytes.length; offset += 4096) {
      if (isIndex(offset)) patches.push({ offset: offset + 64, bytes: Buffer.alloc(1000) });
    }
    assert.ok(patches.length > 3);
    const fileSystem = await openXfs(patchedDisk(memoryDisk(bytes), patches));
    const large = await nodeAt(fileSystem, 'folder of 5000');
    for (const name of readdirSync(join(folder, 'folder of 5000')).slice(0, 50)) {
      assert.equal(String((await fileSystem.find(large, Buffer.from(name)))?.name), name);
    }
  });
});

test('a damaged index with right checksums gives errors that are told', async () => {
  const image = await imageToDamage();
  const isIndex = ({ offset }: { offset: number }) =>
    [0x3df1, 0x3dff, 0x3ebe].includes(image.readUInt16BE(offset + 8));
  const places = structures(image).filter(isIndex);
  assert.ok(places.length > 0);
  for (let round = 0; round < 300; round++) {
    const { offset, length } = places[round % places.length]!;
    const at = offset + Math.floor(random.fraction() * length);
    const patches = [{ offset: at, bytes: random.bytes(1 + (round % 4)) }];
    const disk = resealed(patchedDisk(memoryDisk(image), patches, 16 * MIB));
    await assertOnlyTold(async () => {
      const fileSystem = await openXfs(disk);
      const folder = await nodeAt(fileSystem, '300');
      await fileSystem.find(folder, Buffer.from(`name ${round}`));
    }, `byte ${at}`);
  }
});

test('a folder that is named twice is given once', async () => {
  const image = await imageToDamage();
  // The number of a small folder, as names of its parent have it: that of another folder instead.
  const fileSystem = await openXfs(memoryDisk(image));
  const numbers = [];
  for (const name of ['2', '20']) numbers.push((await nodeAt(fileSystem, name)).inode);
  const number = (inode: bigint) => Buffer.from(inode.toString(16).padStart(8, '0'), 'hex');
  for (const inode of [numbers[1]!, fileSystem.root.inode]) {
    const entry = Buffer.concat([Buffer.from('2\x02'), number(numbers[0]!)]);
    const at = image.indexOf(entry);
    assert.ok(at > 0, 'the root is a small folder');
    const patches = [{ offset: at + 2, bytes: number(inode) }];
    const damaged = await openXfs(resealed(patchedDisk(memoryDisk(image), patches)));
    const found: bigint[] = [];
    await assert.rejects(
      async () => {
        for await (const node of damaged.entries(damaged.root)) found.push(node.inode);
      },
      (error) => isCofferError(error, 'file-system-damaged'),
    );
    assert.equal(new Set(found).size, found.length);
    assert.ok(!found.includes(damaged.root.inode));
  }
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
  const isTree = ['\x3b\xee', '\x3e\xbe', '\x3d\xf1', '\x3d\xff'].includes(head.slice(8, 10));
  return isTree ? 12 : undefined;
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
        ~continueCrc32c(CRC32C_START, bytes),
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
