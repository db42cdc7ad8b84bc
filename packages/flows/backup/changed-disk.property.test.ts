import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import type { ByteRange, Disk, Extent } from '@coffer/disk/disk.ts';
import { GEOMETRY } from '@coffer/repository';
import { TestRepository } from '@coffer/repository/testing/test-repository.ts';
import fc from 'fast-check';
import { backupChangedDisk } from './changed-disk.ts';
import { backupDisk } from './disk.ts';

const CHUNK = GEOMETRY.diskChunkSizeBytes;

/** Bytes as a disk that counts what is read of it. */
class BytesDisk implements Disk {
  readonly sizeBytes: number;
  bytesRead = 0;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.sizeBytes = bytes.length;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    this.bytesRead += target.length;
    target.set(this.#bytes.subarray(offset, offset + target.length));
  }

  *extents(
    { offset, length }: ByteRange = { offset: 0, length: this.sizeBytes },
  ): Iterable<Extent> {
    for (let done = 0; done < length; done += 4096) {
      const size = Math.min(4096, length - done);
      const part = this.#bytes.subarray(offset + done, offset + done + size);
      const kind = part.every((byte) => byte === 0) ? 'zero' : 'data';
      yield { offset: offset + done, length: size, kind };
    }
  }

  async close(): Promise<void> {}
}

async function* each(changes: readonly ByteRange[]): AsyncGenerator<ByteRange> {
  yield* changes;
}

test('a backup of changes is the backup of the whole disk, and reads the changes only', async () => {
  const arbitrary = fc.record({
    size: fc.integer({ min: 1, max: 12 * CHUNK }),
    more: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 4 * CHUNK })),
    zeroFrom: fc.nat({ max: 12 * CHUNK }),
    changes: fc.array(
      fc.record({
        place: fc.nat(),
        length: fc.integer({ min: 1, max: 70_000 }),
        zero: fc.boolean(),
      }),
      { maxLength: 5 },
    ),
    seed: fc.integer({ min: 1, max: 1000 }),
  });
  await using repository = await TestRepository.create();
  const host = await repository.host();
  const run = testRun();
  const slabCount = 2;
  await fc.assert(
    fc.asyncProperty(arbitrary, async ({ size, more, zeroFrom, changes, seed }) => {
      const random = seededRandom(seed);
      const before = random.bytes(size);
      before.fill(0, Math.min(zeroFrom, size));
      const after = Buffer.concat([before, Buffer.alloc(more)]);
      const told = changes
        .map(({ place, length, zero }) => {
          const offset = place % after.length;
          const end = Math.min(offset + length, after.length);
          if (zero) after.fill(0, offset, end);
          else random.bytes(end - offset).copy(after, offset);
          return { offset, length: end - offset };
        })
        .sort((a, b) => a.offset - b.offset);
      const session = await host.beginSession();
      const base = await backupDisk(run, { slabCount, disk: new BytesDisk(before), session });
      // A base is a point: all of it is stored.
      await session.writer.flush();
      const disk = new BytesDisk(after);
      const changed = await backupChangedDisk(run, {
        slabCount,
        disk,
        session,
        reader: host.reader(),
        base: { root: base.root, sizeBytes: size },
        changes: each(told),
      });
      const whole = await backupDisk(run, { slabCount, disk: new BytesDisk(after), session });
      assert.deepEqual(changed.root, whole.root);
      const touched = told.reduce((sum, { length }) => sum + length + 2 * CHUNK, 2 * CHUNK);
      assert.ok(disk.bytesRead <= touched, `read ${disk.bytesRead} of ${touched}`);
      await session.abandon();
    }),
    { numRuns: 40 },
  );
});
