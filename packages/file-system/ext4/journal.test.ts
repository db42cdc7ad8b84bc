import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import { openRawDisk } from '@coffer/disk/raw.ts';
import { describeFolder } from '../testing/expected-tree.ts';
import {
  assertOnlyTold,
  assertTree,
  nodeAt,
  readAt,
  walkAll,
} from '../testing/file-system-contract.ts';
import { memoryDisk, patchedDisk } from '../testing/memory-disk.ts';
import { tool, withFolder } from '../testing/tool.ts';
import { cachedDisk } from '../volumes/cached-disk.ts';
import { openExt4 } from './ext4.ts';
import { makeImage, whileMounted } from './testing/mounted.ts';

const MIB = 1024 * 1024;

/** Changes a tree, and copies its image in the middle of it, as a running machine is copied. */
async function copyWhileMounted(image: string, copy: string, options: string): Promise<void> {
  await whileMounted(
    image,
    async (root) => {
      // Blocks that were those of folders become those of files: the journal revokes them.
      for (let round = 0; round < 4; round++) {
        const folder = join(root, `folder-${round}`);
        mkdirSync(folder);
        for (let index = 0; index < 200; index++) {
          writeFileSync(join(folder, `name number ${index} of ${round}`), `content ${index}`);
        }
        await tool('sync', ['-f', root]);
        if (round < 2) rmSync(folder, { recursive: true });
        // Begins with the magic number of journals, which a journal has to escape.
        const content = Buffer.alloc(300_000, Buffer.from('c03b3998', 'hex'));
        writeFileSync(join(root, `file-${round}`), content);
        appendFileSync(join(root, 'grown'), `round ${round}\n`);
        await tool('sync', ['-f', root]);
      }
      await tool('cp', ['--sparse=always', image, copy]);
    },
    options,
  );
}

const CASES: readonly [name: string, options: string, ...args: string[]][] = [
  ['with checksums', 'loop', '-t', 'ext4'],
  ['of data', 'loop,data=journal', '-t', 'ext4', '-b', '1024'],
  ['without checksums', 'loop', '-t', 'ext4', '-O', '^metadata_csum'],
  ['of 32 bits', 'loop,data=journal', '-t', 'ext3', '-b', '1024'],
];

for (const [name, options, ...args] of CASES) {
  test(`a journal ${name} is replayed as the kernel replays it`, async () => {
    await withFolder(async (folder) => {
      const [image, copy] = [join(folder, 'image'), join(folder, 'copy')];
      await makeImage(image, 64 * MIB, 'mke2fs', '-q', '-F', '-J', 'size=8', ...args);
      await copyWhileMounted(image, copy, options);
      const header = String(await tool('dumpe2fs', ['-h', copy]));
      assert.match(header, /needs_recovery/, 'the copy has a journal to replay');
      const before = await readFile(copy);
      const fileSystem = await openExt4(cachedDisk(memoryDisk(before)));
      await whileMounted(copy, (root) => assertTree(fileSystem, describeFolder(root)));
    });
  });
}

/** An image with a file of one block, to which debugfs commits changes in the journal only. */
async function journalOf(version: number, ...commands: readonly string[]): Promise<Buffer> {
  return await withFolder(async (folder) => {
    const image = join(folder, 'image');
    const debugfs = async (...lines: readonly string[]) =>
      String(await tool('debugfs', ['-w', '-f', '-', image], { input: lines.join('\n') }));
    await makeImage(
      image,
      16 * MIB,
      'mke2fs',
      '-q',
      '-F',
      '-t',
      'ext4',
      '-b',
      '4096',
      '-E',
      'lazy_journal_init=0',
    );
    await writeFile(join(folder, 'old'), Buffer.alloc(4096, 'old '));
    await writeFile(join(folder, 'new'), Buffer.alloc(4096, 'new '));
    await debugfs(`write ${folder}/old file`);
    const output = await debugfs('blocks file');
    const block = /^(\d+) *$/m.exec(output)?.[1];
    assert.ok(block, output);
    const filled = commands.map((line) =>
      line.replace('BLOCK', block).replace('NEW', join(folder, 'new')),
    );
    await debugfs(`jo -c -v ${version}`, ...filled, 'jc');
    return await readFile(image);
  });
}

async function contentOf(image: Buffer): Promise<string> {
  const fileSystem = await openExt4(memoryDisk(image));
  const file = await nodeAt(fileSystem, 'file');
  return String(await readAt(fileSystem, file, 0, 4096)).slice(0, 4);
}

test('tags of both versions of checksums lead to what was written', async () => {
  for (const version of [2, 3]) {
    assert.equal(await contentOf(await journalOf(version, 'jw -b BLOCK NEW')), 'new ');
  }
});

test('a block that a later transaction revokes is not taken', async () => {
  assert.equal(await contentOf(await journalOf(3, 'jw -b BLOCK NEW', 'jw -r BLOCK')), 'old ');
});

test('a block that is written again after it was revoked is taken', async () => {
  const image = await journalOf(3, 'jw -r BLOCK', 'jw -b BLOCK NEW');
  assert.equal(await contentOf(image), 'new ');
});

test('a transaction without its commit block is not taken', async () => {
  assert.equal(await contentOf(await journalOf(3, 'jw -c -b BLOCK NEW')), 'old ');
});

test('a committed block that is not whole is told as damage', async () => {
  const image = await journalOf(3, 'jw -b BLOCK NEW');
  const place = image.lastIndexOf(Buffer.alloc(4096, 'new '));
  image[place + 100]! ^= 1;
  await assert.rejects(
    contentOf(image),
    (error) =>
      isCofferError(error, 'file-system-damaged') &&
      error.details.structure === 'ext4 journal' &&
      error.details.reason === 'checksum',
  );
});

test('damaged journals give errors that are told', async () => {
  const image = await journalOf(3, 'jw -b BLOCK NEW', 'jw -r BLOCK');
  const start = image.indexOf(Buffer.from('c03b399800000004', 'hex'));
  assert.ok(start > 0, 'there is a journal');
  const random = seededRandom(8);
  for (let round = 0; round < 150; round++) {
    const area = round % 3 === 0 ? 96 : 7 * 4096;
    const offset = start + Math.floor(random.fraction() * area);
    const disk = patchedDisk(memoryDisk(image), [{ offset, bytes: random.bytes(4) }]);
    await assertOnlyTold(() => walkAll(openExt4, disk), `damage at ${offset}`);
  }
});

test('a disk that is read through its volume sees the blocks of the journal', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'image');
    await writeFile(path, await journalOf(3, 'jw -b BLOCK NEW'));
    const disk = await openRawDisk(path);
    const fileSystem = await openExt4(cachedDisk(disk));
    const file = await nodeAt(fileSystem, 'file');
    assert.equal(String(await readAt(fileSystem, file, 4090, 100)), 'w new ');
    await fileSystem.close();
  });
});
