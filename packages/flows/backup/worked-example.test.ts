/**
 * The worked example of incremental backup (FEATURES.md, A14): a source of ten blocks, A1 to A10; in
 * the second month blocks 2, 3, 4 and 9 have changed, in the third one block 5. A block is a chunk.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { seededRandom } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { openRawDisk } from '@coffer/disk/raw.ts';
import type { RecoveryPoint } from '@coffer/repository';
import { collectGarbage } from '@coffer/repository';
import { TestRepository } from '@coffer/repository/testing/test-repository.ts';
import { restore } from '../restore/restore.ts';
import { backup, type BackupResult } from './backup.ts';

const BLOCK_BYTES = 256 * 1024;
/** Of a node over ten chunks: its head, its seal, its entries in footer and index object. */
const NODE_BYTES_MAX = 1200;

class Lab implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'coffer-example-'));
  readonly image = join(this.folder, 'disk');
  readonly test: TestRepository;

  constructor(test: TestRepository) {
    this.test = test;
  }

  async protect(): Promise<BackupResult> {
    this.test.clock.advance(86_400_000);
    const disk = await openRawDisk(this.image);
    try {
      return await backup(testRun(), {
        repository: await this.test.host(),
        source: { kind: 'disk', path: this.image, disk },
        item: 'A',
        tags: {},
      });
    } finally {
      await disk.close();
    }
  }

  async point(id: string): Promise<RecoveryPoint> {
    const repository = await this.test.host();
    return (await repository.points()).find((point) => point.id === id)!;
  }

  async restored(id: string): Promise<Buffer> {
    const target = join(this.folder, `restored-${id}`);
    await restore(testRun(), {
      repository: await this.test.host(),
      point: await this.point(id),
      path: '',
      target,
      conflict: undefined,
      include: [],
      dryRun: false,
      verify: true,
    });
    return readFileSync(target);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.test[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true });
  }
}

/** A state of the source: version of each block. Random blocks do not compress. */
function stateOf(versions: readonly number[]): Buffer {
  const blocks = versions.map((version, index) => {
    return seededRandom(1000 + index * 100 + version).bytes(BLOCK_BYTES);
  });
  return Buffer.concat(blocks);
}

const MONTHS = [
  [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  [0, 1, 1, 1, 0, 0, 0, 0, 1, 0],
  [0, 1, 1, 1, 1, 0, 0, 0, 1, 0],
].map(stateOf);

test('A14: four changed blocks store four blocks, then one stores one; each point is whole', async () => {
  await using lab = new Lab(await TestRepository.create());
  const results: BackupResult[] = [];
  for (const month of MONTHS) {
    writeFileSync(lab.image, month);
    results.push(await lab.protect());
  }
  // Blocks, and the one node over them.
  assert.deepEqual(
    results.map(({ chunksNew }) => chunksNew),
    [10 + 1, 4 + 1, 1 + 1],
  );
  for (const [month, blocks] of [10, 4, 1].entries()) {
    const added = results[month]!.bytesStored - blocks * BLOCK_BYTES;
    assert.ok(added > 0 && added < NODE_BYTES_MAX + blocks * 300, `${added} bytes besides blocks`);
  }
  for (const [month, { point }] of results.entries()) {
    assert.ok((await lab.restored(point)).equals(MONTHS[month]!));
  }
});

test('A14: deleting a month leaves every other month whole', async () => {
  for (const victim of [0, 1, 2]) {
    await using lab = new Lab(await TestRepository.create());
    const ids: string[] = [];
    for (const month of MONTHS) {
      writeFileSync(lab.image, month);
      ids.push((await lab.protect()).point);
    }
    const repository = await lab.test.host();
    await repository.removePoint(await lab.point(ids[victim]!));
    assert.equal((await collectGarbage({ repository })).outcome, 'done');
    for (const month of [0, 1, 2].filter((each) => each !== victim)) {
      assert.ok((await lab.restored(ids[month]!)).equals(MONTHS[month]!));
    }
  }
});

test('a disk that has not changed stores no chunk', async () => {
  await using lab = new Lab(await TestRepository.create());
  writeFileSync(lab.image, MONTHS[0]!);
  await lab.protect();
  const { chunksNew, chunksReused, bytesStored, bytesRead } = await lab.protect();
  assert.deepEqual(
    { chunksNew, chunksReused, bytesStored },
    { chunksNew: 0, chunksReused: 11, bytesStored: 0 },
  );
  assert.equal(bytesRead, 10 * BLOCK_BYTES);
});

test('a change of 4 KiB stores one chunk of 256 KiB, and a node for each level', async () => {
  await using lab = new Lab(await TestRepository.create());
  // More than 512 chunks: two levels of nodes. Most of it is a hole.
  const disk = Buffer.alloc(520 * BLOCK_BYTES);
  MONTHS[0]!.copy(disk, 511 * BLOCK_BYTES - 5 * BLOCK_BYTES);
  writeFileSync(lab.image, disk);
  await lab.protect();
  seededRandom(5)
    .bytes(4096)
    .copy(disk, 510 * BLOCK_BYTES + 8192);
  writeFileSync(lab.image, disk);
  const { chunksNew, bytesStored, point } = await lab.protect();
  assert.equal(chunksNew, 1 + 2);
  assert.ok(bytesStored < BLOCK_BYTES + 20_000, `${bytesStored} bytes stored`);
  assert.ok((await lab.restored(point)).equals(disk));
});
