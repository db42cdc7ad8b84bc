/** The small parts: exact reads, buffers, what is under way, what is missing, what is allocated. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CofferError } from '@coffer/base';
import type { Extent } from '../disk.ts';
import { allocationOf } from './allocation.ts';
import { BufferPool } from './buffer-pool.ts';
import { ByteReader } from './byte-reader.ts';
import { InFlight } from './in-flight.ts';
import { MissingParts } from './missing-parts.ts';
import { fails, memoryDisk, MIB } from './testing/lab.ts';

test('bytes are read in order, however they arrive', async () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(sizes, sizes, async (arriving, wanted) => {
      let isPaused = false;
      const source = { pause: () => void (isPaused = true), resume: () => void (isPaused = false) };
      const reader = new ByteReader(source);
      const total = arriving.reduce((sum, size) => sum + size, 0);
      const all = Buffer.from(Array.from({ length: total }, (_, index) => index & 0xff));
      let read = Buffer.alloc(0);
      const consumer = (async () => {
        for (const size of wanted) read = Buffer.concat([read, await reader.read(size)]);
      })().catch(fails('nbd-unreachable'));
      let fed = 0;
      for (const size of arriving) {
        for (let turn = 0; isPaused && turn < 100; turn++) await Promise.resolve();
        if (isPaused) break;
        reader.feed(all.subarray(fed, fed + size));
        fed += size;
      }
      reader.fail(new CofferError('nbd-unreachable'));
      await consumer;
      assert.ok(all.subarray(0, read.length).equals(read));
    }),
  );
});

test('what has arrived before a connection ended is read, what has not fails', async () => {
  const reader = new ByteReader({ pause: () => {}, resume: () => {} });
  reader.feed(Buffer.from('abcdef'));
  reader.fail(new CofferError('nbd-unreachable'));
  assert.equal((await reader.read(4)).toString(), 'abcd');
  await assert.rejects(reader.read(4), fails('nbd-unreachable'));
  assert.equal(reader.hasBytes, false);
});

test('a reader that discards keeps nothing', () => {
  const reader = new ByteReader({ pause: () => assert.fail('not paused again'), resume: () => {} });
  reader.discard();
  reader.feed(Buffer.from('abc'));
  reader.feed(Buffer.from('def'));
  assert.equal(reader.hasBytes, false);
});

test('buffers are used again, and few are kept whatever their sizes', () => {
  const pool = new BufferPool();
  const first = pool.take(5000);
  assert.equal(first.length, 5000);
  pool.give(first);
  assert.equal(pool.take(8192).buffer, first.buffer);
  assert.equal(pool.keptBytes, 0);
  const sizes = [0, 1, 4096, 4097, MIB, MIB + 1, 32 * MIB];
  const taken = sizes.flatMap((size) => [pool.take(size), pool.take(size), pool.take(size)]);
  taken.forEach((buffer, index) => assert.equal(buffer.length, sizes[Math.floor(index / 3)]));
  assert.equal(new Set(taken.map(({ buffer }) => buffer)).size, taken.length);
  for (const buffer of taken) pool.give(buffer);
  assert.ok(pool.keptBytes <= 64 * MIB);
});

test('one waits for room until enough has left', async () => {
  const inFlight = new InFlight({ countMax: 2, bytesMax: 100 });
  await inFlight.enter(60);
  let hasEntered = false;
  const second = inFlight.enter(50).then(() => (hasEntered = true));
  await Promise.resolve();
  assert.equal(hasEntered, false, 'there is no room for its bytes');
  inFlight.leave(60);
  await second;
  await inFlight.enter(1);
  const third = inFlight.enter(0).then(() => 'entered');
  assert.equal(await Promise.race([third, Promise.resolve('waiting')]), 'waiting');
  inFlight.leave(1);
  assert.equal(await third, 'entered');
});

test('parts of a read are complete when each byte came once', () => {
  const parts = fc.array(fc.tuple(fc.nat(40), fc.nat(40)), { maxLength: 40 });
  fc.assert(
    fc.property(fc.nat(32), parts, (length, takes) => {
      const missing = new MissingParts(length);
      const model = new Set(Array.from({ length }, (_, index) => index));
      for (const [start, size] of takes) {
        const wanted = Array.from({ length: size }, (_, index) => start + index);
        const isFree = size > 0 && wanted.every((place) => model.has(place));
        assert.equal(missing.take(start, size), isFree);
        if (isFree) for (const place of wanted) model.delete(place);
        assert.equal(missing.isEmpty, model.size === 0);
      }
    }),
  );
});

test('the allocation of a disk joins neighbours, and ends where a reply is full', async () => {
  const kinds = fc.array(
    fc.tuple(fc.constantFrom('data' as const, 'zero' as const), fc.integer({ min: 1, max: 9 })),
  );
  await fc.assert(
    fc.asyncProperty(kinds, fc.boolean(), async (list, onlyOne) => {
      let offset = 0;
      const extents: Extent[] = list.map(([kind, length]) => {
        offset += length;
        return { offset: offset - length, length, kind };
      });
      const disk = memoryDisk(Buffer.alloc(offset), { extents: () => extents });
      const told = await allocationOf(disk, { offset: 0, length: offset }, onlyOne);
      const flags = told.flatMap((each) => Array.from({ length: each.length }, () => each.flags));
      const expected = list.flatMap(([kind, length]) =>
        Array.from({ length }, () => (kind === 'zero' ? 3 : 0)),
      );
      if (onlyOne) assert.ok(told.length <= 1);
      else assert.equal(flags.length, expected.length);
      assert.deepEqual(flags, expected.slice(0, flags.length));
      told.forEach((each, index) => assert.notEqual(each.flags, told[index + 1]?.flags));
    }),
  );
  const many: Extent[] = Array.from({ length: 10_000 }, (_, offset) => ({
    offset,
    length: 1,
    kind: offset % 2 === 0 ? 'data' : 'zero',
  }));
  const disk = memoryDisk(Buffer.alloc(10_000), { extents: () => many });
  assert.equal((await allocationOf(disk, { offset: 0, length: 10_000 }, false)).length, 4096);
});
