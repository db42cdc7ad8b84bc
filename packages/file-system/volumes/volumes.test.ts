import assert from 'node:assert/strict';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { isCofferError, seededRandom } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import { assertOnlyTold } from '../testing/file-system-contract.ts';
import { memoryDisk, patchedDisk } from '../testing/memory-disk.ts';
import { tool, withFolder } from '../testing/tool.ts';
import { listVolumes, type Volume } from './volumes.ts';

const MIB = 1024 * 1024;

/** What the tests compare of a volume. */
function told({ name, kind, offset, sizeBytes, label, partitionName }: Volume) {
  return { name, kind, offset, sizeBytes, label, partitionName };
}

/** A disk on which a program has made a table, with images of file systems put into it. */
async function diskOf(
  sizeBytes: number,
  partition: (path: string) => Promise<unknown>,
  contents: Readonly<Record<number, Buffer>> = {},
): Promise<Buffer> {
  return await withFolder(async (folder) => {
    const path = join(folder, 'disk.img');
    await writeFile(path, '');
    await truncate(path, sizeBytes);
    await partition(path);
    const disk = await readFile(path);
    for (const [offset, content] of Object.entries(contents)) content.copy(disk, Number(offset));
    return disk;
  });
}

async function image(name: string, args: readonly string[], sizeBytes: number): Promise<Buffer> {
  return await diskOf(sizeBytes, (path) => tool(name, [...args, path]));
}

const EXT4 = await image('mke2fs', ['-q', '-t', 'ext4', '-L', 'data', '-O', '^has_journal'], MIB);
const SWAP = await image('mkswap', ['-L', 'swap'], MIB);

async function makeGptDisk(): Promise<Buffer> {
  const partitions = ['-n', '1:2048:4095', '-n', '3:4096:6143', '-c', '1:System', '-c', '3:Größe'];
  const contents = { [1 * MIB]: EXT4, [2 * MIB]: SWAP };
  return await diskOf(8 * MIB, (path) => tool('sgdisk', [...partitions, path]), contents);
}

const GPT_VOLUMES = [
  {
    name: 'p1',
    kind: 'ext4',
    offset: MIB,
    sizeBytes: MIB,
    label: 'data',
    partitionName: 'System',
  },
  {
    name: 'p3',
    kind: 'swap',
    offset: 2 * MIB,
    sizeBytes: MIB,
    label: 'swap',
    partitionName: 'Größe',
  },
];

const GPT_DISK = await makeGptDisk();

test('a GUID partition table tells places and names', async () => {
  const volumes = await listVolumes(memoryDisk(GPT_DISK));
  assert.deepEqual(volumes.map(told), GPT_VOLUMES);
  const bytes = Buffer.alloc(MIB);
  await volumes[0]!.open().read(0, bytes);
  assert.ok(bytes.equals(EXT4));
});

test('the backup of a GUID partition table is used where the first copy is damaged', async () => {
  for (const damaged of [512 + 40, 1024 + 32]) {
    const disk = patchedDisk(memoryDisk(GPT_DISK), [
      { offset: damaged, bytes: Buffer.from('damaged') },
    ]);
    assert.deepEqual((await listVolumes(disk)).map(told), GPT_VOLUMES, `damage at ${damaged}`);
  }
});

/** A table of the old kind with these entries, in place of the one of the disk. */
function withMbr(disk: Buffer, ...entries: readonly MbrFields[]): Buffer {
  const copy = Buffer.from(disk);
  copy.fill(0, 0, 512);
  for (const [index, { type, start, count }] of entries.entries()) {
    const offset = 446 + 16 * index;
    copy[offset + 4] = type;
    copy.writeUInt32LE(start, offset + 8);
    copy.writeUInt32LE(count, offset + 12);
  }
  copy.writeUInt16LE(0xaa55, 510);
  return copy;
}

interface MbrFields {
  readonly type: number;
  /** In sectors. */
  readonly start: number;
  readonly count: number;
}

const LINUX = { type: 0x83, start: 4096, count: 2048 };
const PROTECTIVE = { type: 0xee, start: 1, count: 8 * 2048 - 1 };

/** A first or a last copy of the GUID partition table, removed. */
function without(disk: Buffer, copy: 'first' | 'last'): Buffer {
  const rest = Buffer.from(disk);
  const start = copy === 'first' ? 512 : rest.length - 33 * 512;
  return rest.fill(0, start, start + 33 * 512);
}

test('what is left of a GUID partition table does not count beside a master boot record', async () => {
  for (const disk of [GPT_DISK, without(GPT_DISK, 'first'), without(GPT_DISK, 'last')]) {
    const volumes = await listVolumes(memoryDisk(withMbr(disk, LINUX)));
    assert.deepEqual(
      volumes.map(({ name, kind, offset }) => [name, kind, offset]),
      [['p1', 'swap', 2 * MIB]],
    );
  }
});

test('a GUID partition table counts in a hybrid master boot record', async () => {
  for (const entries of [
    [PROTECTIVE, LINUX],
    [LINUX, PROTECTIVE],
  ]) {
    const volumes = await listVolumes(memoryDisk(withMbr(GPT_DISK, ...entries)));
    assert.deepEqual(volumes.map(told), GPT_VOLUMES);
  }
});

test('a GUID partition table is shown, as damaged, where the master boot record is empty', async () => {
  const volumes = await listVolumes(memoryDisk(Buffer.from(GPT_DISK).fill(0, 0, 512)));
  assert.deepEqual(volumes.slice(0, -1).map(told), GPT_VOLUMES);
  assert.deepEqual([volumes.at(-1)!.name, volumes.at(-1)!.kind], ['disk', 'unknown']);
  assert.equal(volumes.at(-1)!.problem?.code, 'file-system-damaged');
});

test('a file system on the whole disk counts, whatever is left of a GUID partition table', async () => {
  const disk = Buffer.from(GPT_DISK);
  EXT4.subarray(1024).copy(disk, 1024);
  disk.fill(0, 0, 512);
  const [volume, ...others] = await listVolumes(memoryDisk(disk));
  assert.deepEqual([volume!.name, volume!.kind, others.length], ['disk', 'ext4', 0]);
});

test('the first copy of a GUID partition table counts where the other one differs', async () => {
  const newer = ['-n', '1:2048:4095', '-c', '1:newer'];
  const disk = await diskOf(8 * MIB, (path) => tool('sgdisk', [...newer, path]));
  const mixed = Buffer.concat([disk.subarray(0, 4 * MIB), GPT_DISK.subarray(4 * MIB)]);
  const volumes = await listVolumes(memoryDisk(mixed));
  assert.deepEqual(
    volumes.map(({ partitionName }) => partitionName),
    ['newer'],
  );
});

test('of GUID partition tables of two sizes of sectors, the one that is protected counts', async () => {
  const input = 'g\nn\n1\n512\n767\nw\n';
  const large = await diskOf(8 * MIB, (path) => tool('fdisk', ['-b', '4096', path], { input }));
  const both = Buffer.from(large);
  // The table of 512 bytes lies between the sectors that the other one uses.
  GPT_DISK.copy(both, 512, 512, 4096);
  const entries = Buffer.from(GPT_DISK.subarray(1024, 33 * 512));
  const header = Buffer.from(GPT_DISK.subarray(512, 1024));
  header.writeBigUInt64LE(1024n, 72);
  header.writeUInt32LE(0, 16);
  header.writeUInt32LE(crc32(header.subarray(0, 92)), 16);
  header.copy(both, 512);
  entries.copy(both, 1024 * 512);
  const offsetOf = async (disk: Buffer) => (await listVolumes(memoryDisk(disk)))[0]!.offset;
  assert.equal(await offsetOf(both), 2 * MIB);
  assert.equal(await offsetOf(withMbr(both, PROTECTIVE)), MIB);
});

test('a disk whose GUID partition tables are all damaged is told as one', async () => {
  const bytes = Buffer.from('damaged');
  const patches = [512, 8 * MIB - 512].map((offset) => ({ offset, bytes }));
  const [volume, ...others] = await listVolumes(patchedDisk(memoryDisk(GPT_DISK), patches));
  assert.equal(others.length, 0);
  assert.equal(volume!.name, 'disk');
  assert.equal(volume!.problem?.code, 'file-system-damaged');
});

test('a GUID partition table of sectors of 4096 bytes is understood', async () => {
  const input = 'g\nn\n1\n512\n767\nw\n';
  const disk = await diskOf(8 * MIB, (path) => tool('fdisk', ['-b', '4096', path], { input }), {
    [2 * MIB]: EXT4,
  });
  const [volume] = await listVolumes(memoryDisk(disk));
  const { name, kind, offset, sizeBytes } = volume!;
  assert.deepEqual([name, kind, offset, sizeBytes], ['p1', 'ext4', 2 * MIB, MIB]);
});

/** Three primary partitions and three logical ones; ext4 is in the second of those. */
async function makeMbrDisk(): Promise<Buffer> {
  const input = [
    'label: dos',
    'start=2048, size=2048, type=83, bootable',
    'start=4096, size=2048, type=82',
    'start=6144, type=5',
    'start=8192, size=2048, type=83',
    'start=12288, size=2048, type=83',
    'start=16384, size=2048, type=83',
  ].join('\n');
  const contents = { [2 * MIB]: SWAP, [6 * MIB]: EXT4 };
  return await diskOf(16 * MIB, (path) => tool('sfdisk', ['-q', path], { input }), contents);
}

const MBR_DISK = await makeMbrDisk();

test('a master boot record tells primary and logical partitions', async () => {
  const volumes = await listVolumes(memoryDisk(MBR_DISK));
  assert.deepEqual(
    volumes.map(({ name, kind, offset }) => [name, kind, offset]),
    [
      ['p1', 'unknown', MIB],
      ['p2', 'swap', 2 * MIB],
      ['p5', 'unknown', 4 * MIB],
      ['p6', 'ext4', 6 * MIB],
      ['p7', 'unknown', 8 * MIB],
    ],
  );
});

test('a master boot record that counts in larger sectors leads to its partitions', async () => {
  for (const sectorBytes of [2048, 4096]) {
    const entries = [1, 2].map((mib) => ({
      type: 0x83,
      start: (mib * 2 * MIB) / sectorBytes,
      count: MIB / sectorBytes,
    }));
    const disk = withMbr(Buffer.alloc(8 * MIB), ...entries);
    EXT4.copy(disk, 2 * MIB);
    const volumes = await listVolumes(memoryDisk(disk));
    assert.deepEqual(
      volumes.map(({ name, kind, offset, sizeBytes }) => [name, kind, offset, sizeBytes]),
      [
        ['p1', 'ext4', 2 * MIB, MIB],
        ['p2', 'unknown', 4 * MIB, MIB],
      ],
    );
  }
});

test('a chain of logical partitions that counts in sectors of 4096 bytes is followed', async () => {
  const input = 'o\nn\ne\n1\n512\n1791\nn\nl\n768\n1023\nn\nl\n1280\n1535\nw\n';
  const disk = await diskOf(8 * MIB, (path) => tool('fdisk', ['-b', '4096', path], { input }), {
    [5 * MIB]: EXT4,
  });
  const volumes = await listVolumes(memoryDisk(disk));
  assert.deepEqual(
    volumes.map(({ name, kind, offset }) => [name, kind, offset]),
    [
      ['p5', 'unknown', 3 * MIB],
      ['p6', 'ext4', 5 * MIB],
    ],
  );
});

test('a link of logical partitions can name several, and other bytes that are none', async () => {
  const disk = withMbr(Buffer.alloc(8 * MIB), { type: 0x05, start: 2048, count: 8192 });
  const link = withMbr(
    Buffer.alloc(512),
    { type: 0x83, start: 2048, count: 2048 },
    { type: 0x83, start: 4096, count: 1024 },
    { type: 0x83, start: 6144, count: 1024 },
    { type: 0x33, start: 0x6c6c_6c6c, count: 0x2020_2020 },
  );
  link.copy(disk, MIB);
  const volumes = await listVolumes(memoryDisk(disk));
  assert.deepEqual(
    volumes.map(({ name, offset }) => [name, offset]),
    [
      ['p5', 2 * MIB],
      ['p6', 3 * MIB],
      ['p7', 4 * MIB],
    ],
  );
});

test('a chain of logical partitions that is a loop is told as damage', async () => {
  const disk = Buffer.from(MBR_DISK);
  const links = [...disk.keys()].filter(
    (at) => at % 512 === 510 && disk.readUInt16LE(at) === 0xaa55,
  );
  // The second entry of the last link, an extended partition that begins at the first link.
  const last = Math.max(...links.filter((at) => at > 6 * MIB)) - 510 + 446 + 16;
  disk[last + 4] = 5;
  disk.writeUInt32LE(0, last + 8);
  disk.writeUInt32LE(2048, last + 12);
  const volumes = await listVolumes(memoryDisk(disk));
  assert.deepEqual(
    volumes.map(({ name }) => name),
    ['p1', 'p2', 'p5', 'p6', 'p7', 'disk'],
  );
  assert.equal(volumes.at(-1)!.problem?.details.structure, 'extended partition');
});

test('a disk without a partition table is one volume', async () => {
  const fat = await image('mkfs.fat', ['-n', 'STICK'], 4 * MIB);
  for (const [disk, kind] of [
    [EXT4, 'ext4'],
    [fat, 'fat12'],
    [Buffer.alloc(MIB), 'unknown'],
    [Buffer.alloc(100), 'unknown'],
  ] as const) {
    const [volume, ...others] = await listVolumes(memoryDisk(disk));
    assert.equal(others.length, 0);
    assert.deepEqual([volume!.name, volume!.kind, volume!.sizeBytes], ['disk', kind, disk.length]);
  }
});

test('a partition beyond the end of the disk is listed, and reading it is told as damage', async () => {
  const disk = memoryDisk(MBR_DISK.subarray(0, 6 * MIB + MIB / 2));
  const volumes = await listVolumes(disk);
  const cut = volumes.find(({ name }) => name === 'p6');
  const bytes = Buffer.alloc(MIB);
  await assert.rejects(
    async () => await cut!.open().read(0, bytes),
    (error) => isCofferError(error, 'file-system-damaged'),
  );
});

test('volumes of several disks are told by disk and name', async () => {
  const disks = [GPT_DISK, MBR_DISK, EXT4].map((bytes) => memoryDisk(bytes));
  const volumes = await listVolumes(disks);
  const names = volumes.map(({ diskIndex, name }) => `${diskIndex}/${name}`);
  assert.deepEqual(names.slice(0, 3), ['0/p1', '0/p3', '1/p1']);
  assert.equal(names.at(-1), '2/disk');
  assert.equal(new Set(names).size, names.length);
});

test('damaged partition tables give volumes or errors that are told', async () => {
  const random = seededRandom(3);
  for (const original of [GPT_DISK, MBR_DISK]) {
    for (let round = 0; round < 200; round++) {
      const area = round % 2 === 0 ? 2048 : original.length;
      const patches = [0, 1].map(() => ({
        offset: Math.floor(random.fraction() * area),
        bytes: random.bytes(1 + Math.floor(random.fraction() * 16)),
      }));
      const disk: Disk = patchedDisk(memoryDisk(original), patches);
      await assertOnlyTold(async () => void (await listVolumes(disk)), JSON.stringify(patches));
    }
  }
});
