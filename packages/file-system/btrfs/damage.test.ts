// Needs the Debian package btrfs-progs. With xxhash, which is not verified, damage gets to the parser.

import { mkdirSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { damageContract } from '../testing/file-system-contract.ts';
import { withFolder } from '../testing/tool.ts';
import { openBtrfs } from './btrfs.ts';
import { makeImage, whileMounted } from './testing/image.ts';

const MIB = 1024 * 1024;
const SUPERBLOCK_OFFSET = 64 * 1024;

async function image(): Promise<Buffer> {
  return await withFolder(async (folder) => {
    const path = join(folder, 'image');
    await makeImage(path, 40 * MIB, [
      '--mixed',
      '-m',
      'single',
      '-d',
      'single',
      '--csum',
      'xxhash',
    ]);
    for (const compression of ['lzo', 'zlib', 'zstd']) {
      await whileMounted(path, `compress-force=${compression}`, async (root) => {
        const at = join(root, compression);
        mkdirSync(at);
        writeFileSync(join(at, 'inline'), 'words and words and words '.repeat(40));
        writeFileSync(join(at, 'stored'), 'words and words and more '.repeat(8000));
        for (let index = 0; index < 30; index++) writeFileSync(join(at, `${index}`), `${index}`);
      });
    }
    return await readFile(path);
  });
}

/** The superblock, and the starts and ends of blocks that say that they belong to the volume. */
function structures(bytes: Buffer) {
  const places = [{ offset: SUPERBLOCK_OFFSET + 32, length: 200 }];
  const fileSystemId = bytes.subarray(SUPERBLOCK_OFFSET + 32, SUPERBLOCK_OFFSET + 48);
  for (let offset = 0; offset + 4096 <= bytes.length; offset += 4096) {
    if (!bytes.subarray(offset + 32, offset + 48).equals(fileSystemId)) continue;
    places.push({ offset: offset + 48, length: 300 }, { offset: offset + 48, length: 4000 });
  }
  return places;
}

const made = image();
damageContract('btrfs', { image: () => made, open: openBtrfs, structures, roundCount: 250 });
// Compressed contents, among others.
damageContract('btrfs, anywhere', { image: () => made, open: openBtrfs, roundCount: 60 });
