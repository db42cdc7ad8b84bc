import assert from 'node:assert/strict';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import { assertOnlyTold } from '../testing/file-system-contract.ts';
import { memoryDisk, patchedDisk } from '../testing/memory-disk.ts';
import { tool, withFolder } from '../testing/tool.ts';
import { openLogicalVolume } from './lvm.ts';
import { parseLvmMetadata } from './lvm-metadata-codec.ts';
import { parseLvmText } from './lvm-text-codec.ts';
import { listVolumes, type Volume } from './volumes.ts';

const MIB = 1024 * 1024;
const DISK_BYTES = 16 * MIB;

/**
 * Logical volumes as `lvcreate` would write them: that needs a device mapper, which reading does
 * not. `vgcfgrestore` checks them and writes them to the disks.
 */
const LOGICAL_VOLUMES = `
  logical_volumes {
    linear {
      id = "aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa"
      status = ["READ", "WRITE", "VISIBLE"]
      flags = []
      segment_count = 1
      segment1 { start_extent = 0 extent_count = 2 type = "striped" stripe_count = 1
        stripes = ["pv1", 5] }
    }
    joined {
      id = "bbbbbb-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa"
      status = ["READ", "WRITE", "VISIBLE"]
      flags = []
      segment_count = 3
      segment1 { start_extent = 0 extent_count = 2 type = "striped" stripe_count = 1
        stripes = ["pv0", 3] }
      segment2 { start_extent = 2 extent_count = 1 type = "striped" stripe_count = 1
        stripes = ["pv1", 0] }
      segment3 { start_extent = 3 extent_count = 1 type = "striped" stripe_count = 1
        stripes = ["pv0", 0] }
    }
    stripes {
      id = "cccccc-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa"
      status = ["READ", "WRITE", "VISIBLE"]
      flags = []
      segment_count = 1
      segment1 { start_extent = 0 extent_count = 2 type = "striped" stripe_count = 2
        stripe_size = 128 stripes = ["pv0", 8, "pv1", 8] }
    }
  }
`;

/** Two physical volumes of one group, made by LVM2. */
async function physicalVolumes(): Promise<Buffer[]> {
  return await withFolder(async (folder) => {
    const paths = ['a', 'b'].map((name) => join(folder, `${name}.img`));
    const devices: string[] = [];
    try {
      for (const path of paths) {
        await writeFile(path, '');
        await truncate(path, DISK_BYTES);
        devices.push(String(await tool('losetup', ['-f', '--show', path])).trim());
      }
      await makeGroup(folder, devices);
    } finally {
      for (const device of devices) await tool('losetup', ['-d', device]);
    }
    return await Promise.all(paths.map((path) => readFile(path)));
  });
}

async function makeGroup(folder: string, devices: readonly string[]): Promise<void> {
  const accepted = devices.map((device) => `"a|^${device}$|"`).join(',');
  const config = [
    `devices { dir="/dev" use_devicesfile=0 filter=[${accepted},"r|.*|"] }`,
    `global { locking_dir="${folder}/lock" } backup { backup=0 archive=0 }`,
  ].join(' ');
  const env = { LVM_SYSTEM_DIR: folder, LVM_SUPPRESS_FD_WARNINGS: '1' };
  const lvm = (name: string, ...args: string[]) =>
    tool(name, ['--config', config, ...args], { env });
  await lvm('pvcreate', '-y', ...devices);
  await lvm('vgcreate', '-s', '1M', 'group', ...devices);
  const path = join(folder, 'group.txt');
  await lvm('vgcfgbackup', '-f', path, 'group');
  const text = await readFile(path, 'utf8');
  await writeFile(path, text.replace(/\}\s*$/, `${LOGICAL_VOLUMES}}\n`));
  // More text than the ring of one area takes at once, so that the newest of many copies is read.
  for (let round = 0; round < 3; round++) await lvm('vgcfgrestore', '-f', path, 'group');
  await lvm('pvck', ...devices);
}

const [FIRST, SECOND] = (await physicalVolumes()) as [Buffer, Buffer];

function find(volumes: readonly Volume[], name: string): Volume {
  const found = volumes.find((volume) => volume.name === name);
  assert.ok(found, `there is ${name} among ${volumes.map((volume) => volume.name).join(' ')}`);
  return found;
}

/** Where extents begin: after the metadata, as LVM2 puts them by itself. */
const EXTENTS_OFFSET = MIB;

test('logical volumes are joined from the extents of several disks', async () => {
  const [first, second] = [Buffer.from(FIRST), Buffer.from(SECOND)];
  const content = seededRandom(5).bytes(4 * MIB);
  content.copy(first, EXTENTS_OFFSET + 3 * MIB, 0, 2 * MIB);
  content.copy(second, EXTENTS_OFFSET, 2 * MIB, 3 * MIB);
  content.copy(first, EXTENTS_OFFSET, 3 * MIB, 4 * MIB);
  const volumes = await listVolumes([memoryDisk(first), memoryDisk(second)]);
  const joined = find(volumes, 'group-joined');
  const bytes = Buffer.alloc(4 * MIB);
  await joined.open().read(0, bytes);
  assert.ok(bytes.equals(content));
  assert.equal(joined.sizeBytes, 4 * MIB);
});

test('a file system on a logical volume is told', async () => {
  const second = Buffer.from(SECOND);
  const path = ['-q', '-t', 'ext4', '-L', 'root', '-O', '^has_journal'];
  const image = await withFolder(async (folder) => {
    await tool('mke2fs', [...path, join(folder, 'x'), '2M']);
    return await readFile(join(folder, 'x'));
  });
  image.copy(second, EXTENTS_OFFSET + 5 * MIB);
  const linear = find(await listVolumes([memoryDisk(FIRST), memoryDisk(second)]), 'group-linear');
  assert.deepEqual([linear.kind, linear.label, linear.diskIndex], ['ext4', 'root', 1]);
});

test('stripes on two disks are read by turns', async () => {
  const [first, second] = [Buffer.from(FIRST), Buffer.from(SECOND)];
  const content = seededRandom(7).bytes(2 * MIB);
  const stripeBytes = 128 * 512;
  for (let stripe = 0; stripe * stripeBytes < content.length; stripe++) {
    const disk = stripe % 2 === 0 ? first : second;
    const place = EXTENTS_OFFSET + 8 * MIB + Math.floor(stripe / 2) * stripeBytes;
    content.copy(disk, place, stripe * stripeBytes, (stripe + 1) * stripeBytes);
  }
  const volumes = await listVolumes([memoryDisk(first), memoryDisk(second)]);
  const bytes = Buffer.alloc(2 * MIB);
  await find(volumes, 'group-stripes').open().read(0, bytes);
  assert.ok(bytes.equals(content));
});

test('a volume of which a disk is not given says so, and others are read', async () => {
  const volumes = await listVolumes(memoryDisk(SECOND));
  assert.equal(find(volumes, 'group-linear').problem, undefined);
  assert.equal(find(volumes, 'group-joined').problem?.code, 'volume-not-found');
});

test('the second copy of a group is read where the metadata of one disk is damaged', async () => {
  const damaged = patchedDisk(memoryDisk(FIRST), [
    { offset: 4096 + 40, bytes: Buffer.alloc(60, 1) },
  ]);
  const volumes = await listVolumes([damaged, memoryDisk(SECOND)]);
  const linear = find(volumes, 'group-linear');
  assert.equal(linear.problem, undefined);
});

test('a physical volume in a partition is found', async () => {
  const disk = Buffer.alloc(DISK_BYTES + 2 * MIB);
  SECOND.copy(disk, MIB);
  // One partition of Linux from the first mebibyte on.
  disk.writeUInt16LE(0xaa55, 510);
  disk[446 + 4] = 0x8e;
  disk.writeUInt32LE(MIB / 512, 446 + 8);
  disk.writeUInt32LE(DISK_BYTES / 512, 446 + 12);
  const content = seededRandom(6).bytes(2 * MIB);
  content.copy(disk, MIB + EXTENTS_OFFSET + 5 * MIB);
  const volumes = await listVolumes([memoryDisk(FIRST), memoryDisk(disk)]);
  const linear = find(volumes, 'group-linear');
  const bytes = Buffer.alloc(2 * MIB);
  await linear.open().read(0, bytes);
  assert.ok(bytes.equals(content));
  assert.equal(find(volumes, 'p1').kind, 'lvm2');
});

/** As LVM2 writes a thin volume, a mirror, and a snapshot of a plain volume. */
const SPECIAL_VOLUMES = `
group { id = "g" seqno = 7 extent_size = 8192 status = ["RESIZEABLE"]
  physical_volumes { pv0 { id = "aaaa-bb" pe_start = 2048 pe_count = 100 } }
  logical_volumes {
    pool { id = "1" status = ["READ", "WRITE", "VISIBLE"] segment_count = 1
      segment1 { start_extent = 0 extent_count = 4 type = "thin-pool" metadata = "pool_tmeta" } }
    thin { id = "2" status = ["READ", "WRITE", "VISIBLE"] segment_count = 1
      segment1 { start_extent = 0 extent_count = 9 type = "thin" thin_pool = "pool" } }
    mirror { id = "3" status = ["READ", "WRITE", "VISIBLE"] segment_count = 1
      segment1 { start_extent = 0 extent_count = 2 type = "raid1" raids = ["a", "b"] } }
    plain { id = "4" status = ["READ", "WRITE", "VISIBLE"] segment_count = 1
      segment1 { start_extent = 0 extent_count = 1 type = "striped" stripe_count = 1
        stripes = ["pv0", 3] } }
    snap { id = "5" status = ["READ", "WRITE"] segment_count = 1
      segment1 { start_extent = 0 extent_count = 1 type = "striped" stripe_count = 1
        stripes = ["pv0", 4] } }
    snapshot0 { id = "6" status = ["READ", "WRITE", "VISIBLE"] segment_count = 1
      segment1 { start_extent = 0 extent_count = 1 type = "snapshot" chunk_size = 8
        origin = "plain" cow_store = "snap" } }
    pool_tmeta { id = "7" status = ["READ", "WRITE"] segment_count = 1
      segment1 { start_extent = 0 extent_count = 1 type = "striped" stripe_count = 1
        stripes = ["pv0", 5] } }
  }
}`;

test('thin volumes, mirrors and snapshots are told as what they are, and their parts not at all', () => {
  const { volumes, sequence } = parseLvmMetadata(SPECIAL_VOLUMES);
  assert.equal(sequence, 7);
  assert.deepEqual(
    volumes.map(({ name, specialType }) => [name, specialType]),
    [
      ['pool', 'thin-pool'],
      ['thin', 'thin'],
      ['mirror', 'raid1'],
      ['plain', undefined],
      ['snap', 'snapshot'],
    ],
  );
  const areas = [{ physicalVolumeId: 'aaaabb', offset: MIB + 12 * MIB }];
  const segment = { length: 4 * MIB, stripeBytes: 4 * MIB, areas };
  assert.deepEqual(volumes[3]!.segments, [segment]);
});

test('a volume that needs more than reading is listed, and says why it is not opened', () => {
  const thin = parseLvmMetadata(SPECIAL_VOLUMES).volumes[1]!;
  assert.throws(
    () => openLogicalVolume(thin, []),
    (error) => isCofferError(error, 'file-system-unsupported') && error.details.lvmType === 'thin',
  );
});

test('damaged physical volumes give volumes or errors that are told', async () => {
  const random = seededRandom(11);
  for (let round = 0; round < 200; round++) {
    const area = round % 2 === 0 ? 1024 : 24 * 1024;
    const offset = Math.floor(random.fraction() * area);
    const disk = patchedDisk(memoryDisk(FIRST), [{ offset, bytes: random.bytes(8) }]);
    const run = async () => void (await listVolumes([disk, memoryDisk(SECOND)]));
    await assertOnlyTold(run, `damage at ${offset}`);
  }
});

test('text that does not keep to the grammar is told as damage', () => {
  const bad = ['a', 'a {', '}', 'a = ', 'a = [', 'a = [1,', 'a = "x', 'a = {', 'ä = 1', '= 1'];
  bad.push('a {'.repeat(100_000), `a = [${'1,'.repeat(100_000)}`, 'a = "'.repeat(100_001));
  for (const text of bad) {
    assert.throws(
      () => parseLvmText(text),
      (error) => isCofferError(error, 'file-system-damaged'),
    );
  }
  const text = 'a = 1 # one\nb { c = "x\\"y" d = ["p", 2] }\n\0';
  const parsed = parseLvmText(text);
  assert.equal(parsed.values.get('a'), 1);
  assert.deepEqual(
    [...parsed.sections.get('b')!.values],
    [
      ['c', 'x"y'],
      ['d', ['p', 2]],
    ],
  );
});
