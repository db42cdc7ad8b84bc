import assert from 'node:assert/strict';
import { linkSync, mkdirSync, writeFileSync } from 'node:fs';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import { withoutRanges } from '@coffer/disk/without-ranges.ts';
import { withNtfs } from '../ntfs/testing/ntfs-image.ts';
import { memoryDisk } from '../testing/memory-disk.ts';
import { tool, withFolder } from '../testing/tool.ts';
import { openFileSystem } from '../volumes/open-file-system.ts';
import { joinedDisk, rangeDisk } from '../volumes/range-disk.ts';
import { listVolumes } from '../volumes/volumes.ts';
import { PlaceFinder, type Read } from './place-finder.ts';
import { findSwap, type FindSwapOptions } from './swap.ts';
import { SWAP_HEADER_BYTES } from './swap-header-codec.ts';

const MIB = 1024 * 1024;

/** A swap area all of which was used. */
async function usedSwap(sizeBytes: number, seed: number): Promise<Buffer> {
  const made = await withFolder(async (folder) => {
    const path = join(folder, 'swap');
    await writeFile(path, '');
    await truncate(path, sizeBytes);
    await tool('mkswap', [path]);
    return await readFile(path);
  });
  seededRandom(seed)
    .bytes(sizeBytes - SWAP_HEADER_BYTES)
    .copy(made, SWAP_HEADER_BYTES);
  return made;
}

/** The disks as they would be protected, with how much of each is left out. */
async function withoutSwap(disks: readonly Disk[], options: Partial<FindSwapOptions> = {}) {
  const areas = await findSwap(disks, { isAtRest: true, ...options });
  const places = areas.flatMap((area) => area.places);
  return {
    names: areas.map(({ name }) => name),
    disks: disks.map((disk, index) => {
      const ranges = places.filter(({ diskIndex }) => diskIndex === index);
      return withoutRanges(disk, ranges);
    }),
    bytes: places.reduce((sum, { length }) => sum + length, 0),
  };
}

async function contentOf(disk: Disk, volume: string, path: readonly string[]): Promise<Buffer> {
  const found = (await listVolumes(disk)).find(({ name }) => name === volume);
  const fileSystem = await openFileSystem(found!.open());
  let node = fileSystem.root;
  for (const name of path) node = (await fileSystem.find(node, Buffer.from(name)))!;
  const bytes = Buffer.alloc(node.sizeBytes);
  await fileSystem.read(node, 0, bytes);
  return bytes;
}

async function bytesOf(disk: Disk, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  await disk.read(offset, bytes);
  return bytes;
}

/** A disk with a swap partition, and a root with swap files and others. */
async function linuxDisk(format: readonly string[]): Promise<{ disk: Buffer; other: Buffer }> {
  const other = seededRandom(7).bytes(3 * MIB);
  const root = await withFolder(async (folder) => {
    const tree = join(folder, 'tree');
    mkdirSync(join(tree, 'etc'), { recursive: true });
    const table = '# swap\nUUID=1 / ext4 defaults 0 1\n/var swap none\n/hidden none swap sw 0 0\n';
    writeFileSync(join(tree, 'etc/fstab'), table);
    writeFileSync(join(tree, 'hidden'), await usedSwap(5 * MIB, 1));
    writeFileSync(join(tree, 'swap.img'), await usedSwap(MIB, 2));
    // It has the name of one only.
    writeFileSync(join(tree, 'swapfile'), other);
    writeFileSync(join(tree, 'other'), other);
    const path = join(folder, 'root');
    await tool('mke2fs', ['-q', ...format, '-d', tree, path, '24M']);
    return await readFile(path);
  });
  const disk = await withFolder(async (folder) => {
    const path = join(folder, 'disk');
    await writeFile(path, '');
    await truncate(path, 32 * MIB);
    await tool('sgdisk', ['-n', '1:2048:+4M', '-t', '1:8200', '-n', '2:10240:+24M', path]);
    return await readFile(path);
  });
  (await usedSwap(4 * MIB, 3)).copy(disk, MIB);
  root.copy(disk, 5 * MIB);
  return { disk, other };
}

for (const format of [
  ['-t', 'ext4'],
  ['-t', 'ext4', '-b', '1024', '-O', '^has_journal'],
]) {
  test(`swap of Linux is left out, and nothing else (${format.join(' ')})`, async () => {
    const { disk, other } = await linuxDisk(format);
    const whole = memoryDisk(disk);
    const { names, disks, bytes } = await withoutSwap([whole]);
    assert.deepEqual(names, ['p1', 'p2/hidden', 'p2/swap.img']);
    assert.equal(bytes, 10 * MIB - 3 * SWAP_HEADER_BYTES);
    const [reduced] = disks as [Disk];
    const header = disk.subarray(MIB, MIB + SWAP_HEADER_BYTES);
    assert.ok((await bytesOf(reduced, MIB, SWAP_HEADER_BYTES)).equals(header));
    const rest = 4 * MIB - SWAP_HEADER_BYTES;
    const cleared = await bytesOf(reduced, MIB + SWAP_HEADER_BYTES, rest);
    assert.ok(cleared.equals(Buffer.alloc(rest)));
    for (const name of ['hidden', 'swap.img']) {
      const expected = await contentOf(whole, 'p2', [name]);
      expected.fill(0, SWAP_HEADER_BYTES);
      assert.ok((await contentOf(reduced, 'p2', [name])).equals(expected), name);
    }
    for (const name of ['other', 'swapfile']) {
      assert.ok((await contentOf(reduced, 'p2', [name])).equals(other), name);
    }
  });
}

test('a logical volume has its places on several disks', async () => {
  const swap = await usedSwap(2 * MIB, 5);
  const disks = [memoryDisk(Buffer.alloc(4 * MIB, 1)), memoryDisk(Buffer.alloc(4 * MIB, 2))];
  const finder = new PlaceFinder(disks);
  const [first, second] = finder.disks as [Disk, Disk];
  const parts = [
    rangeDisk(second, { offset: MIB, length: MIB }),
    rangeDisk(first, { offset: 2 * MIB, length: MIB / 2 }),
    rangeDisk(first, { offset: 2.5 * MIB, length: MIB / 2 }),
  ];
  const joined = joinedDisk(parts);
  const read: Read = (offset, target) => joined.read(offset, target);
  assert.deepEqual(await finder.find(read, SWAP_HEADER_BYTES, swap.length), [
    { diskIndex: 1, offset: MIB + SWAP_HEADER_BYTES, length: MIB - SWAP_HEADER_BYTES },
    { diskIndex: 0, offset: 2 * MIB, length: MIB },
  ]);
  const byte = Buffer.alloc(1);
  await joined.read(0, byte);
  assert.equal(byte[0], 2, 'other reads are made');
});

/** A file system of Windows in a whole disk. */
async function windowsDisk(fill: (folder: string) => void): Promise<Disk> {
  return await withNtfs({ sizeBytes: 16 * MIB }, fill, async ({ path }) =>
    memoryDisk(await readFile(path)),
  );
}

test('page files of Windows are left out', async () => {
  const page = seededRandom(1).bytes(3 * MIB);
  const disk = await windowsDisk((folder) => writeFileSync(join(folder, 'pagefile.sys'), page));
  const { names, disks } = await withoutSwap([disk]);
  assert.deepEqual(names, ['disk/pagefile.sys']);
  const content = await contentOf(disks[0]!, 'disk', ['pagefile.sys']);
  assert.ok(content.equals(Buffer.alloc(page.length)));
  const changing = await withoutSwap([disk], { isAtRest: false });
  assert.deepEqual(changing.names, [], 'its journal may know better');
});

test('a file that has another name too is no page file', async () => {
  const disk = await windowsDisk((folder) => {
    writeFileSync(join(folder, 'database'), seededRandom(1).bytes(3 * MIB));
    linkSync(join(folder, 'database'), join(folder, 'pagefile.sys'));
  });
  assert.deepEqual((await withoutSwap([disk])).names, []);
});

/** A disk with one partition of a type. */
async function partitioned(content: Buffer, table: 'gpt' | 'dos', type: string): Promise<Buffer> {
  return await withFolder(async (folder) => {
    const path = join(folder, 'disk');
    await writeFile(path, '');
    await truncate(path, content.length + 2 * MIB);
    const sectors = content.length / 512;
    const script = `label: ${table}\nstart=2048, size=${sectors}, type=${type}\n`;
    await tool('sh', ['-c', `printf '%s' "$1" | /sbin/sfdisk -q "$2"`, 'sh', script, path]);
    const disk = await readFile(path);
    content.copy(disk, MIB);
    return disk;
  });
}

const SWAP_TYPE = '0657FD6D-A4AB-43C4-84E5-0933C84B4F4F';
const DATA_TYPE = '0FC63DAF-8483-4772-8E79-3D69D8477DE4';

async function namesOf(...disks: Buffer[]): Promise<string[]> {
  return (await withoutSwap(disks.map((disk) => memoryDisk(disk)))).names;
}

test('what has the header of swap is swap only where swap is expected', async () => {
  const swap = await usedSwap(MIB, 4);
  assert.deepEqual(await namesOf(await partitioned(swap, 'gpt', SWAP_TYPE)), ['p1']);
  assert.deepEqual(await namesOf(await partitioned(swap, 'dos', '82')), ['p1']);
  assert.deepEqual(await namesOf(await partitioned(swap, 'gpt', DATA_TYPE)), []);
  assert.deepEqual(await namesOf(await partitioned(swap, 'dos', '83')), []);
  assert.deepEqual(await namesOf(swap), []);
});

test('a member of a RAID is none, whatever it was before', async () => {
  const swap = await usedSwap(MIB, 4);
  // The superblocks of 1.1, 1.2, 1.0 and 0.90.
  for (const place of [0, 4096, MIB - 8192, MIB - 65_536]) {
    const member = Buffer.from(swap);
    member.writeUInt32LE(0xa92b4efc, place);
    assert.deepEqual(await namesOf(await partitioned(member, 'gpt', SWAP_TYPE)), [], `${place}`);
  }
});

test('an area that is cut or damaged is none', async () => {
  const swap = await usedSwap(MIB, 4);
  const endless = Buffer.from(swap);
  endless.writeUInt32LE(MIB / 4096, 1028);
  for (const bad of [swap.subarray(0, MIB / 2), endless, Buffer.alloc(MIB)]) {
    assert.deepEqual(await namesOf(await partitioned(bad, 'gpt', SWAP_TYPE)), []);
  }
});

test('of a guest that has hibernated all is kept, wherever it has', async () => {
  const { disk: linux } = await linuxDisk(['-t', 'ext4']);
  assert.deepEqual(await namesOf(linux), ['p1', 'p2/hidden', 'p2/swap.img']);
  const swap = await usedSwap(MIB, 4);
  for (const mark of ['S1SUSPEND\0', 'S2SUSPEND\0', 'ULSUSPEND\0', 'LINHIB0001']) {
    const hibernated = Buffer.from(swap);
    hibernated.write(mark, SWAP_HEADER_BYTES - mark.length, 'latin1');
    assert.deepEqual(await namesOf(linux, hibernated), [], mark);
  }
});

test('of a Windows that has hibernated all is kept', async () => {
  const page = seededRandom(1).bytes(MIB);
  for (const [mark, expected] of [
    ['HIBR', []],
    ['hibr', []],
    ['RSTR', []],
    ['WAKE', ['disk/pagefile.sys']],
    ['\0\0\0\0', ['disk/pagefile.sys']],
  ] as const) {
    const hibernated = Buffer.alloc(MIB, 1);
    hibernated.write(mark, 'latin1');
    const disk = await windowsDisk((folder) => {
      writeFileSync(join(folder, 'pagefile.sys'), page);
      writeFileSync(join(folder, 'hiberfil.sys'), hibernated);
    });
    const { names, disks } = await withoutSwap([disk]);
    assert.deepEqual(names, expected, mark);
    assert.ok((await contentOf(disks[0]!, 'disk', ['hiberfil.sys'])).equals(hibernated));
  }
});

test('no more is searched than a host has, however much a disk promises', async () => {
  const huge: Disk = { ...memoryDisk(Buffer.alloc(1)), sizeBytes: 2 ** 50 };
  const finder = new PlaceFinder([huge]);
  const read: Read = (offset, target) => finder.disks[0]!.read(offset, target);
  const unsupported = (error: unknown): boolean => isCofferError(error, 'file-system-unsupported');
  await assert.rejects(finder.find(read, 0, 2 ** 40), unsupported);
  await finder.find(read, 0, 2 ** 30);
  await assert.rejects(finder.find(read, 0, 2 ** 39), unsupported, 'of all searches together');
});

test('a search for what has no place ends, and can be ended', async () => {
  const finder = new PlaceFinder([memoryDisk(Buffer.alloc(1))]);
  let reads = 0;
  const decompress: Read = async () => reads++;
  const unsupported = (error: unknown): boolean => isCofferError(error, 'file-system-unsupported');
  await assert.rejects(finder.find(decompress, 0, 2 ** 36), unsupported);
  assert.ok(reads <= 4097, `${reads} reads`);
  const ended = new PlaceFinder([], AbortSignal.abort(new Error('ended')));
  await assert.rejects(ended.find(decompress, 0, 1), /ended/);
});

test('a disk that cannot be understood has no swap, and is no failure', async () => {
  const { disk } = await linuxDisk(['-t', 'ext4']);
  const random = seededRandom(11);
  for (let round = 0; round < 60; round++) {
    const damaged = Buffer.from(disk);
    for (let flips = 0; flips < 40; flips++) {
      const place = 5 * MIB + Math.floor(random.fraction() * 300_000);
      damaged[place] = Math.floor(random.fraction() * 256);
    }
    await withoutSwap([memoryDisk(damaged)]);
  }
});
