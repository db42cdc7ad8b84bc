import assert from 'node:assert/strict';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { CofferError, seededRandom } from '@coffer/base';
import { memoryDisk } from '../testing/memory-disk.ts';
import { tool, withFolder } from '../testing/tool.ts';
import { detectFileSystem } from './detect.ts';

const MIB = 1024 * 1024;

/** Programs that make each kind, and what blkid calls it. */
const MAKERS: readonly [kind: string, blkid: string, sizeMib: number, ...command: string[]][] = [
  ['ext2', 'ext2', 2, 'mke2fs', '-q', '-t', 'ext2', '-L', 'two'],
  ['ext3', 'ext3', 8, 'mke2fs', '-q', '-t', 'ext3'],
  ['ext4', 'ext4', 8, 'mke2fs', '-q', '-t', 'ext4', '-L', 'sixteen letters!'],
  ['xfs', 'xfs', 300, 'mkfs.xfs', '-q', '-L', 'x-label'],
  ['btrfs', 'btrfs', 128, 'mkfs.btrfs', '-q', '-L', 'A long label of btrfs'],
  ['ntfs', 'ntfs', 8, 'mkntfs', '-q', '-F', '-f', '-L', 'Back ups'],
  ['fat12', 'vfat', 2, 'mkfs.fat', '-F', '12', '-n', 'TWELVE'],
  ['fat16', 'vfat', 20, 'mkfs.fat', '-F', '16'],
  ['fat32', 'vfat', 40, 'mkfs.fat', '-F', '32', '-n', 'THIRTYTWO'],
  ['exfat', 'exfat', 8, 'mkfs.exfat', '-L', 'Back ups'],
  ['swap', 'swap', 2, 'mkswap', '-q', '-L', 'swapping'],
];

for (const [kind, blkidType, sizeMib, command, ...args] of MAKERS) {
  test(`${kind} is told as blkid tells it`, async () => {
    await withFolder(async (folder) => {
      const path = join(folder, 'image');
      await writeFile(path, '');
      await truncate(path, sizeMib * MIB);
      await tool(command!, [...args, path]);
      const told = await blkid(path);
      const head = Buffer.alloc(sizeMib * MIB);
      (await readFile(path)).copy(head);
      const detected = await detectFileSystem(memoryDisk(head));
      assert.equal(detected.kind, kind);
      assert.equal(told.TYPE, blkidType);
      assert.equal(detected.uuid, told.UUID);
      assert.equal(detected.label, told.LABEL);
      assert.ok(detected.sizeBytes > sizeMib * MIB * 0.9 && detected.sizeBytes <= sizeMib * MIB);
    });
  });
}

test('the label of a FAT is that of its root folder, as Windows has it', async () => {
  for (const [bits, sizeMib] of [
    ['12', 2],
    ['16', 20],
    ['32', 40],
  ] as const) {
    await withFolder(async (folder) => {
      const path = join(folder, 'image');
      await writeFile(path, '');
      await truncate(path, sizeMib * MIB);
      await tool('mkfs.fat', ['-F', bits, '-n', 'OLD', path]);
      const bytes = await readFile(path);
      const inRoot = bytes.lastIndexOf('OLD        ');
      const cases = [
        ['the other one', 'NEW LABEL  ', 'NEW LABEL'],
        ['a letter that marks what is deleted', '\x05LD        ', 'σLD'],
        ['none', '\xe5LD        ', undefined],
      ] as const;
      for (const [name, stored, label] of cases) {
        bytes.write(stored, inRoot, 'latin1');
        assert.equal((await detectFileSystem(memoryDisk(bytes))).label, label, name);
      }
    });
  }
});

test('a volume whose label cannot be read is what it is nevertheless', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'image');
    await writeFile(path, '');
    await truncate(path, 8 * MIB);
    await tool('mkntfs', ['-q', '-F', '-L', 'name', path]);
    const bytes = await readFile(path);
    const damaged = Buffer.concat([bytes.subarray(0, 512), Buffer.alloc(8 * MIB - 512)]);
    const { kind, label } = await detectFileSystem(memoryDisk(damaged));
    assert.deepEqual([kind, label], ['ntfs', undefined]);
  });
});

async function blkid(path: string): Promise<Record<string, string>> {
  const output = await tool('blkid', ['-p', '-o', 'export', path]);
  const lines = String(output).trim().split('\n');
  // It escapes what a shell would take for something else.
  return Object.fromEntries(
    lines.map((line) => line.replaceAll('\\', '').split(/=(.*)/s, 2) as [string, string]),
  );
}

test('formats that are locked, or of other systems, are told by their marks', async () => {
  const marks: readonly [kind: string, offset: number, mark: string][] = [
    ['luks', 0, 'LUKS\xba\xbe\0\x02'],
    ['bitlocker', 3, '-FVE-FS-'],
    ['refs', 3, 'ReFS\0\0\0\0'],
    ['iso9660', 32_769, 'CD001'],
  ];
  for (const [kind, offset, mark] of marks) {
    const bytes = Buffer.alloc(MIB);
    bytes.write(mark, offset, 'latin1');
    assert.equal((await detectFileSystem(memoryDisk(bytes))).kind, kind);
  }
});

test('a LUKS2 volume is told by its second header where something is made over the first', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'image');
    await writeFile(path, '');
    await truncate(path, 32 * MIB);
    const work = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000'];
    const kind = ['--batch-mode', '--type', 'luks2', '--label', 'secret'];
    await tool('cryptsetup', ['luksFormat', ...kind, ...work, path, '-'], { input: 'passphrase' });
    const bytes = await readFile(path);
    const before = await detectFileSystem(memoryDisk(bytes));
    bytes.fill(0, 0, 4096).write('SWAPSPACE2', 4086);
    assert.equal(before.label, 'secret');
    assert.deepEqual(await detectFileSystem(memoryDisk(bytes)), before);
  });
});

test('a disk that cannot be read is no volume without a label', async () => {
  await withFolder(async (folder) => {
    const path = join(folder, 'image');
    await writeFile(path, '');
    await truncate(path, 8 * MIB);
    await tool('mkntfs', ['-q', '-F', '-L', 'name', path]);
    const disk = memoryDisk(await readFile(path));
    let readCount = 0;
    const failing = {
      ...disk,
      async read(offset: number, target: Uint8Array) {
        if (++readCount > 2) throw new CofferError('store-unavailable');
        await disk.read(offset, target);
      },
    };
    await assert.rejects(detectFileSystem(failing), { code: 'store-unavailable' });
  });
});

test('bytes that are nothing are unknown, however few they are', async () => {
  const random = seededRandom(4);
  for (const sizeBytes of [0, 1, 511, 512, 1023, 2000, 65_535, 70_000]) {
    const detected = await detectFileSystem(memoryDisk(random.bytes(sizeBytes)));
    const unknown = { kind: 'unknown', label: undefined, uuid: undefined, sizeBytes };
    assert.deepEqual(detected, unknown);
  }
});
