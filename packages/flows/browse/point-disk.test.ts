import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import { DiskTreeBuilder, GEOMETRY, SlabPool } from '@coffer/repository';
import { TestRepository } from '@coffer/repository/testing/test-repository.ts';
import { assertHolds } from '@coffer/disk/testing/contract.ts';
import { PointDisk } from './point-disk.ts';

const CHUNK = GEOMETRY.diskChunkSizeBytes;

/** A disk of random chunks, zero where `isZero` says so, in a repository of its own. */
async function storedDisk(
  test: TestRepository,
  content: Buffer,
): Promise<{ disk: PointDisk; ids: Buffer[] }> {
  const repository = await test.host();
  const session = await repository.beginSession();
  const { writer } = session;
  const slabs = new SlabPool(1);
  const ids: Buffer[] = [];
  const builder = new DiskTreeBuilder(content.length, (children, body) =>
    writer.writeNode(children, body),
  );
  for (let offset = 0; offset < content.length; offset += CHUNK) {
    const length = Math.min(CHUNK, content.length - offset);
    const [id] = await slabs.use(async (slab) => {
      content.copy(slab.bytes, 0, offset, offset + length);
      return await writer.write(slab, [{ offset: 0, length }]);
    });
    ids.push(id!);
    await builder.add(id!);
  }
  const root = await builder.finish();
  await writer.flush();
  const reader = repository.reader();
  const disk = new PointDisk({ reader, work: repository.work, root, sizeBytes: content.length });
  return { disk, ids };
}

function sparseContent(): Buffer {
  const content = seededRandom(1).bytes(70 * CHUNK + 12_345);
  content.fill(0, 5 * CHUNK, 9 * CHUNK);
  content.fill(0, 30 * CHUNK, 52 * CHUNK);
  return content;
}

test('a disk of a point reads like the disk it was made from', async () => {
  await using repository = await TestRepository.create();
  const content = sparseContent();
  const { disk } = await storedDisk(repository, content);
  await assertHolds(disk, content, seededRandom(2));
  await disk.close();
});

test('several readers in order, and one at random, all get their own bytes', async () => {
  await using repository = await TestRepository.create();
  const content = sparseContent();
  const { disk } = await storedDisk(repository, content);
  const inOrder = async (start: number, step: number): Promise<void> => {
    for (let offset = start; offset + step <= content.length; offset += step) {
      const part = Buffer.alloc(step);
      await disk.read(offset, part);
      assert.ok(part.equals(content.subarray(offset, offset + step)), `at ${offset}`);
    }
  };
  const random = seededRandom(3);
  const atRandom = async (): Promise<void> => {
    for (let round = 0; round < 300; round++) {
      const offset = Math.floor(random.fraction() * (content.length - 4096));
      const part = Buffer.alloc(4096);
      await disk.read(offset, part);
      assert.ok(part.equals(content.subarray(offset, offset + 4096)), `at ${offset}`);
    }
  };
  await Promise.all([
    inOrder(0, 65_536),
    inOrder(7, 300_000),
    inOrder(CHUNK * 20, 4096),
    atRandom(),
  ]);
  await disk.close();
});

test('extents tell the zeroes, and neighbours of one kind are one', async () => {
  await using repository = await TestRepository.create();
  const { disk } = await storedDisk(repository, sparseContent());
  const extents = [];
  for await (const { offset, length, kind } of disk.extents()) {
    extents.push([offset / CHUNK, length / CHUNK, kind]);
  }
  assert.deepEqual(extents.slice(0, 4), [
    [0, 5, 'data'],
    [5, 4, 'zero'],
    [9, 21, 'data'],
    [30, 22, 'zero'],
  ]);
  await disk.close();
});

test('a read of a lost chunk fails and names it; all others go on', async () => {
  await using repository = await TestRepository.create();
  const content = seededRandom(4).bytes(40 * CHUNK);
  const { disk, ids } = await storedDisk(repository, content);
  await disk.close();
  const host = await repository.host();
  const lost = ids[20]!;
  const other = Buffer.from(lost);
  other[0]! ^= 0xff;
  const builder = new DiskTreeBuilder(content.length, async (children, body) => {
    const session = await host.beginSession();
    const id = await session.writer.writeNode(children, body);
    await session.writer.flush();
    return id;
  });
  for (const id of ids) await builder.add(id === lost ? other : id);
  const root = await builder.finish();
  const broken = new PointDisk({
    reader: host.reader(),
    work: host.work,
    root,
    sizeBytes: content.length,
  });
  const part = Buffer.alloc(4096);
  const isMissing = (error: unknown): boolean => isCofferError(error, 'chunk-missing');
  await assert.rejects(broken.read(20 * CHUNK, part), isMissing);
  for (let chunk = 0; chunk < 40; chunk++) {
    const read = broken.read(chunk * CHUNK + 100, part);
    if (chunk === 20) await assert.rejects(read, isMissing);
    else {
      await read;
      assert.ok(part.equals(content.subarray(chunk * CHUNK + 100, chunk * CHUNK + 4196)));
    }
  }
  await broken.close();
});
