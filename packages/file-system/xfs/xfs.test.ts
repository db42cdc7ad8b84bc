// Reads volumes that mkfs.xfs made and Linux filled, and compares with what Linux reads.

import assert from 'node:assert/strict';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openRawDisk } from '@coffer/disk/raw.ts';
import { describeFolder, type ExpectedTree } from '../testing/expected-tree.ts';
import { assertTree, nodeAt } from '../testing/file-system-contract.ts';
import { memoryDisk, patchedDisk } from '../testing/memory-disk.ts';
import { tool, withFolder } from '../testing/tool.ts';
import {
  fillAttributes,
  fillFiles,
  fillFolders,
  fillSparse,
  MIB,
  random,
} from './testing/xfs-content.ts';
import { describeXfs, makeXfs, withXfs, type XfsImage } from './testing/xfs-image.ts';
import { openXfs } from './xfs.ts';

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

for (const [variant, options] of Object.entries(VARIANTS).slice(1, 3)) {
  test(`finds each name of large folders by their index (${variant})`, async () => {
    const check = async ({ path, folder }: XfsImage) => {
      // What is read of the disk tells whether the index was of use.
      const image = memoryDisk(readFileSync(path));
      const fileSystem = await openXfs(patchedDisk(image, [], 64 * MIB));
      for (const count of [120, 1000, 5000]) {
        const large = await nodeAt(fileSystem, `folder of ${count}`);
        for (const name of readdirSync(join(folder, `folder of ${count}`))) {
          if (name.length % 11 !== 0) continue;
          assert.equal(String((await fileSystem.find(large, Buffer.from(name)))?.name), name);
          assert.equal(await fileSystem.find(large, Buffer.from(`${name}?`)), undefined);
        }
      }
    };
    await withXfs(options, fillFolders, check);
  });
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
      await assertFindsOld(join(work, 'image'), Object.keys(expected));
    });
  });
}

/** Reading all names for each would read more of the disk. */
async function assertFindsOld(path: string, paths: readonly string[]): Promise<void> {
  const fileSystem = await openXfs(patchedDisk(memoryDisk(readFileSync(path)), [], 5 * MIB));
  const many = await nodeAt(fileSystem, 'many');
  for (const found of paths.filter((some) => some.startsWith('many/')).slice(-40)) {
    const name = Buffer.from(found.slice('many/'.length));
    assert.ok((await fileSystem.find(many, name))?.name.equals(name), found);
    assert.equal(await fileSystem.find(many, Buffer.from(`${String(name)}?`)), undefined);
  }
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
