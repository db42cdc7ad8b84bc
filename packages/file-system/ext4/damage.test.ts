import { readFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { damageContract } from '../testing/file-system-contract.ts';
import { withFolder } from '../testing/tool.ts';
import { openExt4 } from './ext4.ts';
import { makeImage } from './testing/mounted.ts';
import { makeSampleTree } from './testing/sample-tree.ts';

const MIB = 1024 * 1024;

async function image(...args: readonly string[]): Promise<Buffer> {
  return await withFolder(async (folder) => {
    const source = join(folder, 'source');
    await mkdir(source);
    const sizes = { sparseBytes: 100 * MIB, manyNamesCount: 40, largeAttributeBytes: 700 };
    await makeSampleTree(source, sizes);
    const path = join(folder, 'image');
    const fixed = ['-q', '-F', '-b', '1024', '-N', '128', '-d', source];
    await makeImage(path, 8 * MIB, 'mke2fs', ...fixed, ...args);
    return await readFile(path);
  });
}

/** Superblock, descriptors, bitmaps and inodes lie at the start; folders and maps behind. */
function structures(bytes: Buffer) {
  const places = [
    { offset: 1024, length: 1024 },
    { offset: 2048, length: 1024 },
    { offset: 4096, length: 256 * 1024 },
    { offset: 4096, length: bytes.length - 4096 },
  ];
  return places;
}

const CASES: readonly [name: string, ...args: string[]][] = [
  ['ext2', '-t', 'ext2'],
  ['ext4 without checksums', '-t', 'ext4', '-O', '^metadata_csum,^has_journal,inline_data'],
  ['ext4 with checksums', '-t', 'ext4', '-O', '^has_journal'],
];

for (const [name, ...args] of CASES) {
  const made = image(...args);
  damageContract(name, { image: () => made, open: openExt4, structures });
}
