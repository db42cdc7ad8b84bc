// The kernel and mkfs.btrfs are the judges: images are filled by them, and mounted for comparison.
// Needs root, loop devices, and the Debian package btrfs-progs.

import assert from 'node:assert/strict';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { openRawDisk } from '@coffer/disk/raw.ts';
import { describeFolder, type ExpectedTree } from '../testing/expected-tree.ts';
import { assertTree, nodeAt, readAt } from '../testing/file-system-contract.ts';
import { memoryDisk } from '../testing/memory-disk.ts';
import { tool, withFolder } from '../testing/tool.ts';
import { cachedDisk } from '../volumes/cached-disk.ts';
import { openBtrfs } from './btrfs.ts';
import { makeImage, makeSampleTree, whileMounted } from './testing/image.ts';

const MIB = 1024 * 1024;

interface Case {
  readonly name: string;
  readonly format?: readonly string[];
  readonly mount?: string;
  readonly nameCount?: number;
}

const CASES: readonly Case[] = [
  { name: 'without compression', nameCount: 5000 },
  { name: 'compressed with zlib', mount: 'compress-force=zlib' },
  { name: 'compressed with lzo', mount: 'compress-force=lzo' },
  { name: 'compressed with zstd', mount: 'compress-force=zstd' },
  { name: 'compressed with lzo in sectors that are inline', mount: 'compress=lzo,max_inline=4096' },
  {
    name: 'with nodes of 4 KiB and checksums of SHA-256',
    format: ['-n', '4096', '--csum', 'sha256'],
    nameCount: 5000,
  },
  { name: 'with BLAKE2 and extents for holes', format: ['--csum', 'blake2', '-O', '^no-holes'] },
  { name: 'with data and metadata mixed', format: ['--mixed'], mount: 'compress=zstd' },
];

/** The kernel describes the tree while it is mounted; then the image is read. */
async function assertSame(image: string, expected: ExpectedTree): Promise<void> {
  const fileSystem = await openBtrfs(cachedDisk(await openRawDisk(image)));
  try {
    await assertTree(fileSystem, expected);
  } finally {
    await fileSystem.close();
  }
}

/** Contents that are compared are read from the mount, so that it stays until then. */
async function assertAsMounted(image: string): Promise<void> {
  await whileMounted(image, 'ro', async (folder) => {
    await assertSame(image, describeFolder(folder));
  });
}

for (const { name, format = [], mount = 'noatime', nameCount = 50 } of CASES) {
  test(`it reads a volume ${name}`, async () => {
    await withFolder(async (folder) => {
      const image = join(folder, 'image');
      await makeImage(image, 300 * MIB, format);
      await whileMounted(image, mount, async (root) => makeSampleTree(root, nameCount));
      await assertAsMounted(image);
    });
  });
}

test('it reads what mkfs.btrfs has made of a folder', async () => {
  await withFolder(async (folder) => {
    const source = join(folder, 'source');
    mkdirSync(source);
    makeSampleTree(source, 300);
    // The tool has no holes, and would write them out.
    await tool('truncate', ['-s', '10M', join(source, 'sparse')]);
    const image = join(folder, 'image');
    await makeImage(image, 300 * MIB, ['--rootdir', source]);
    await assertAsMounted(image);
  });
});

/** Folders of snapshots that only stand for subvolumes of their origin. */
const STAND_INS = ['snapshots/one/inner', 'snapshots/all/home', 'snapshots/all/snapshots/one'];

test('subvolumes and snapshots are folders, whichever is the default', async () => {
  await withFolder(async (folder) => {
    const image = join(folder, 'image');
    await makeImage(image, 300 * MIB, []);
    await whileMounted(image, 'compress=zstd', async (root) => {
      const at = (...names: string[]): string => join(root, ...names);
      await tool('btrfs', ['subvolume', 'create', at('home')]);
      writeFileSync(at('home', 'file'), 'first');
      await tool('btrfs', ['subvolume', 'create', at('home', 'inner')]);
      writeFileSync(at('home', 'inner', 'file'), 'inner');
      mkdirSync(at('snapshots'));
      await tool('btrfs', ['subvolume', 'snapshot', '-r', at('home'), at('snapshots', 'one')]);
      writeFileSync(at('home', 'file'), 'second');
      await tool('btrfs', ['subvolume', 'snapshot', at(), at('snapshots', 'all')]);
      await tool('btrfs', ['subvolume', 'create', at('gone')]);
      await tool('btrfs', ['subvolume', 'delete', '-c', at('gone')]);
      renameSync(at('home', 'inner'), at('moved'));
      await tool('btrfs', ['subvolume', 'set-default', at('home')]);
    });
    await whileMounted(image, 'ro,subvolid=5', async (root) => {
      const expected = { ...describeFolder(root) };
      // What the kernel says of folders that only stand for a subvolume is made up.
      for (const path of STAND_INS) {
        assert.ok(expected[path], path);
        expected[path] = { type: 'directory' };
      }
      await assertSame(image, expected);
    });
    const fileSystem = await openBtrfs(await openRawDisk(image));
    const inodes = new Set<bigint>();
    for (const path of ['home/file', 'snapshots/one/file']) {
      const file = await nodeAt(fileSystem, path);
      inodes.add(file.inode);
      const text = path.startsWith('home') ? 'second' : 'first';
      assert.equal((await readAt(fileSystem, file, 0, 100)).toString(), text);
    }
    assert.equal(inodes.size, 2);
    await fileSystem.close();
  });
});

test('preallocated space and overwritten parts of shared extents are read as they are', async () => {
  await withFolder(async (folder) => {
    const image = join(folder, 'image');
    await makeImage(image, 300 * MIB, []);
    await whileMounted(image, 'compress=lzo', async (root) => {
      const path = join(root, 'file');
      await tool('fallocate', ['-l', '10M', join(root, 'prealloc')]);
      const text = Buffer.from('some words that repeat '.repeat(100_000));
      writeFileSync(path, text);
      await tool('cp', ['--reflink=always', path, join(root, 'clone')]);
      await tool('sync', []);
      for (const target of [path, join(root, 'prealloc')]) {
        const handle = await open(target, 'r+');
        for (let offset = 5000; offset < 2_000_000; offset += 77_777) {
          await handle.write(Buffer.alloc(3000, offset % 251), 0, 3000, offset);
        }
        await handle.close();
      }
    });
    await assertAsMounted(image);
  });
});

test('a copy stands in for a superblock, or a tree block, that is damaged', async () => {
  await withFolder(async (folder) => {
    const image = join(folder, 'image');
    await makeImage(image, 300 * MIB, ['-m', 'dup']);
    await whileMounted(image, 'noatime', async (root) => {
      writeFileSync(join(root, 'file'), Buffer.alloc(100_000, 7));
    });
    const bytes = await readFile(image);
    bytes.fill(0, 64 * 1024, 68 * 1024);
    damageFirstCopies(bytes);
    const fileSystem = await openBtrfs(memoryDisk(bytes));
    const file = await nodeAt(fileSystem, 'file');
    assert.ok((await readAt(fileSystem, file, 0, 200_000)).equals(Buffer.alloc(100_000, 7)));
  });
});

/** Breaks each tree block that is there twice, in the place where it is first. */
function damageFirstCopies(image: Buffer): void {
  const seen = new Map<string, number>();
  const fileSystemId = image.subarray(64 * MIB + 32, 64 * MIB + 48);
  let count = 0;
  for (let at = 0; at + 16_384 <= image.length; at += 4096) {
    if (!image.subarray(at + 32, at + 48).equals(fileSystemId) || at === 64 * MIB) continue;
    const checksum = image.toString('hex', at, at + 101);
    const first = seen.get(checksum);
    if (first === undefined) seen.set(checksum, at);
    else {
      image.fill(0xff, first + 50, first + 60);
      count++;
    }
  }
  assert.ok(count > 3, 'there are blocks with copies');
}

test('a volume on several devices is refused', async () => {
  await withFolder(async (folder) => {
    const images = [join(folder, 'one'), join(folder, 'two')];
    for (const image of images) await tool('truncate', ['-s', '200M', image]);
    await tool('mkfs.btrfs', ['-q', '-f', '-m', 'raid1', ...images]);
    const disk = await openRawDisk(images[0]!);
    await assert.rejects(openBtrfs(disk), (error) =>
      isCofferError(error, 'file-system-unsupported'),
    );
    await disk.close();
  });
});
