import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { openRawDisk } from '@coffer/disk/raw.ts';
import { describeFolder } from '../testing/expected-tree.ts';
import { assertTree } from '../testing/file-system-contract.ts';
import { tool, withFolder } from '../testing/tool.ts';
import { cachedDisk } from '../volumes/cached-disk.ts';
import { openExt4 } from './ext4.ts';
import { makeImage, whileMounted } from './testing/mounted.ts';
import { makeSampleTree, type SampleOptions } from './testing/sample-tree.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const TIB = 1024 * GIB;

const SAMPLE: SampleOptions = {
  sparseBytes: 1 * TIB,
  manyNamesCount: 300,
  largeAttributeBytes: 900,
};

interface Case {
  readonly name: string;
  readonly args: readonly string[];
  readonly sample?: Partial<SampleOptions>;
}

const CASES: readonly Case[] = [
  {
    name: 'ext2 with blocks of 1 KiB',
    args: ['-t', 'ext2', '-b', '1024'],
    sample: { sparseBytes: 8 * GIB },
  },
  {
    name: 'ext3 with blocks of 4 KiB',
    args: ['-t', 'ext3', '-b', '4096'],
    sample: { manyNamesCount: 5000 },
  },
  {
    name: 'ext4 as it is made by default',
    args: ['-t', 'ext4', '-b', '4096'],
    sample: { manyNamesCount: 5000, largeAttributeBytes: 3000 },
  },
  {
    name: 'ext4 with blocks of 1 KiB and a tree of hashes with two levels',
    args: ['-t', 'ext4', '-b', '1024'],
    sample: { manyNamesCount: 5000 },
  },
  {
    name: 'ext4 with blocks of 2 KiB, without checksums and 64 bits',
    args: ['-t', 'ext4', '-b', '2048', '-O', '^metadata_csum,^64bit,uninit_bg'],
  },
  { name: 'ext4 with contents in inodes', args: ['-t', 'ext4', '-O', 'inline_data', '-I', '512'] },
  {
    name: 'ext4 with contents in small inodes',
    args: ['-t', 'ext4', '-O', 'inline_data,^metadata_csum', '-I', '256'],
  },
  {
    name: 'ext4 without extents',
    args: ['-t', 'ext4', '-O', '^extents,^64bit', '-b', '4096'],
  },
  { name: 'ext4 with clusters', args: ['-t', 'ext4', '-O', 'bigalloc', '-C', '16384'] },
  {
    name: 'ext4 with descriptors in their groups',
    args: ['-t', 'ext4', '-b', '1024', '-O', 'meta_bg,^resize_inode'],
  },
  {
    name: 'ext4 with inodes of 128 bytes',
    args: ['-t', 'ext4', '-I', '128', '-O', '^flex_bg,^extra_isize'],
  },
  {
    name: 'ext4 with large values in inodes, a seed and two copies of the superblock',
    args: ['-t', 'ext4', '-O', 'ea_inode,metadata_csum_seed,sparse_super2'],
    sample: { largeAttributeBytes: 30_000 },
  },
];

for (const { name, args, sample } of CASES) {
  test(`${name} is read as the kernel reads it`, async () => {
    await withFolder(async (folder) => {
      const image = join(folder, 'image');
      await makeImage(image, 96 * MIB, 'mke2fs', '-q', '-F', ...args);
      await whileMounted(image, (root) => makeSampleTree(root, { ...SAMPLE, ...sample }));
      await assertReadAsByKernel(image);
    });
  });
}

async function assertReadAsByKernel(image: string): Promise<void> {
  const fileSystem = await openExt4(cachedDisk(await openRawDisk(image)));
  try {
    await whileMounted(image, (root) => assertTree(fileSystem, describeFolder(root)), 'loop,ro');
  } finally {
    await fileSystem.close();
  }
}

/** What not every kernel can mount is made by mke2fs from a folder. */
const UNMOUNTED_CASES: readonly Case[] = [
  { name: 'ext4 with blocks of 64 KiB', args: ['-t', 'ext4', '-b', '65536'] },
  {
    name: 'ext4 with names that ignore case',
    args: ['-t', 'ext4', '-E', 'encoding=utf8', '-O', 'casefold'],
  },
];

for (const { name, args } of UNMOUNTED_CASES) {
  test(`${name} is read as mke2fs made it`, async () => {
    await withFolder(async (folder) => {
      const source = join(folder, 'source');
      await mkdir(source);
      await makeSampleTree(source, { ...SAMPLE, sparseBytes: GIB });
      const image = join(folder, 'image');
      await makeImage(image, 128 * MIB, 'mke2fs', '-q', '-F', ...args, '-d', source);
      const fileSystem = await openExt4(cachedDisk(await openRawDisk(image)));
      // mke2fs copies whole seconds only, and makes a folder of its own.
      const expected = describeFolder(source, { times: false, root: false });
      const added = { 'lost+found': { type: 'directory', mode: 0o700 } } as const;
      await assertTree(fileSystem, { ...expected, ...added });
      await fileSystem.close();
    });
  });
}

const LINK_CASES: readonly Case[] = [
  { name: 'ext2', args: ['-t', 'ext2', '-b', '1024', '-I', '128'] },
  { name: 'ext4', args: ['-t', 'ext4', '-b', '1024', '-I', '128'] },
  {
    name: 'ext4 with clusters',
    args: ['-t', 'ext4', '-O', 'bigalloc', '-C', '16384', '-I', '128'],
  },
];

for (const { name, args } of LINK_CASES) {
  test(`links of ${name} lead where the kernel says, wherever their targets are`, async () => {
    await withFolder(async (folder) => {
      const image = join(folder, 'image');
      await makeImage(image, 8 * MIB, 'mke2fs', '-q', '-F', ...args);
      const targets = { short: 'some/where', cut: 'some\0where', long: 'x/'.repeat(100) };
      for (const [link, target] of Object.entries(targets)) {
        await writeFile(join(folder, link), target);
        // The target is in blocks, however short it is.
        await tool('debugfs', ['-w', '-R', `write ${join(folder, link)} ${link}`, image]);
        await tool('debugfs', ['-w', '-R', `set_inode_field ${link} mode 0120777`, image]);
      }
      await tool('debugfs', ['-w', '-R', 'symlink fast else/where', image]);
      const attribute = `ea_set fast trusted.long ${'v'.repeat(500)}`;
      await tool('debugfs', ['-w', '-R', attribute, image]);
      await assertReadAsByKernel(image);
    });
  });
}

test('folders that are encrypted say so, and others are read', async () => {
  await withFolder(async (folder) => {
    const image = join(folder, 'image');
    await makeImage(image, 8 * MIB, 'mke2fs', '-q', '-F', '-t', 'ext4', '-O', 'encrypt');
    await tool('debugfs', ['-w', '-R', 'mkdir locked', image]);
    await tool('debugfs', ['-w', '-R', 'set_inode_field locked flags 0x80800', image]);
    const fileSystem = await openExt4(await openRawDisk(image));
    const locked = await fileSystem.find(fileSystem.root, Buffer.from('locked'));
    const names = async () => {
      for await (const entry of fileSystem.entries(locked!)) assert.fail(String(entry.name));
    };
    await assert.rejects(names, { code: 'file-system-unsupported' });
    await fileSystem.close();
  });
});

test('features that are not understood are named', async () => {
  await withFolder(async (folder) => {
    const image = join(folder, 'image');
    await makeImage(image, 2 * MIB, 'mke2fs', '-q', '-F', '-t', 'ext4', '-O', '^metadata_csum');
    await tool('debugfs', ['-w', '-R', 'feature FEATURE_I29', image]);
    await assert.rejects(openExt4(await openRawDisk(image)), {
      code: 'file-system-unsupported',
      details: { fileSystem: 'ext4', features: '0x20000000' },
    });
  });
});
