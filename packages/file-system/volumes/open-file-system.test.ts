import assert from 'node:assert/strict';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { openRawDisk } from '@coffer/disk/raw.ts';
import { memoryDisk } from '../testing/memory-disk.ts';
import { tool, withFolder } from '../testing/tool.ts';
import { openFileSystem } from './open-file-system.ts';
import { listVolumes } from './volumes.ts';

const MIB = 1024 * 1024;

const MAKERS: readonly [name: string, sizeMib: number, ...command: string[]][] = [
  ['ext2', 4, 'mke2fs', '-q', '-t', 'ext2'],
  ['ext4', 16, 'mke2fs', '-q', '-t', 'ext4'],
  ['FAT', 16, 'mkfs.fat'],
  ['exFAT', 16, 'mkfs.exfat'],
  ['NTFS', 16, 'mkntfs', '-q', '-F', '-f'],
  ['XFS', 300, 'mkfs.xfs', '-q'],
  ['btrfs', 128, 'mkfs.btrfs', '-q'],
];

for (const [name, sizeMib, command, ...args] of MAKERS) {
  test(`${name} is opened on a disk without partitions and on a partition`, async () => {
    await withFolder(async (folder) => {
      const [path, disk] = [join(folder, 'image'), join(folder, 'disk')];
      await writeFile(path, '');
      await truncate(path, sizeMib * MIB);
      await tool(command!, [...args, path]);
      await writeFile(disk, '');
      await truncate(disk, (sizeMib + 2) * MIB);
      const table = `label: dos\nstart=2048, size=${sizeMib * 2048}, type=83`;
      await tool('sfdisk', ['-q', disk], { input: table });
      await tool('dd', [`if=${path}`, `of=${disk}`, 'bs=1M', 'seek=1', 'conv=notrunc,sparse']);
      for (const [image, volumeName] of [
        [path, 'disk'],
        [disk, 'p1'],
      ] as const) {
        const raw = await openRawDisk(image);
        const [volume] = await listVolumes(raw);
        assert.equal(volume!.name, volumeName);
        const fileSystem = await openFileSystem(volume!.open());
        assert.equal(fileSystem.root.type, 'directory');
        for await (const entry of fileSystem.entries(fileSystem.root)) {
          assert.ok(entry.name.length > 0);
        }
        await fileSystem.close();
        await raw.close();
      }
    });
  });
}

test('what cannot be opened says why', async () => {
  const cases: readonly [code: string, offset: number, mark: string][] = [
    ['volume-locked', 0, 'LUKS\xba\xbe\0\x02'],
    ['volume-locked', 3, '-FVE-FS-'],
    ['file-system-unsupported', 3, 'ReFS\0\0\0\0'],
    ['file-system-unknown', 4086, 'SWAPSPACE2'],
    ['file-system-unknown', 0, ''],
  ];
  for (const [code, offset, mark] of cases) {
    const bytes = Buffer.alloc(MIB);
    bytes.write(mark, offset, 'latin1');
    await assert.rejects(openFileSystem(memoryDisk(bytes)), { code });
  }
});
