import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { isCofferError } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { faulty } from '@coffer/storage/testing/faulty.ts';
import { SlabPool } from '../chunk/slab.ts';
import { getWhole, chunkOf, namesOf, onPut, TestRepository } from '../testing/test-repository.ts';
import type { ChunkWriter } from './chunk-writer.ts';

async function writeAll(writer: ChunkWriter, chunks: readonly Buffer[]): Promise<Buffer[]> {
  return await new SlabPool(1).use(async (slab) => {
    let offset = 0;
    const spans = chunks.map((chunk) => {
      chunk.copy(slab.bytes, offset);
      offset += chunk.length;
      return { offset: offset - chunk.length, length: chunk.length };
    });
    return await writer.write(slab, spans);
  });
}

test('equal chunks are stored once: in a slab, in a session and in another one', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const first = await repository.beginSession();
  const [a, b] = [chunkOf(1), chunkOf(2)];
  const ids = await writeAll(first.writer, [a, b, a]);
  assert.deepEqual(ids[0], ids[2]);
  await writeAll(first.writer, [b]);
  const { chunksNew, chunksReused, bytesNew } = first.writer.statistics;
  assert.deepEqual(
    { chunksNew, chunksReused, bytesNew },
    { chunksNew: 2, chunksReused: 2, bytesNew: 1200 },
  );
  await first.commit([]);
  const second = await (await test.host()).beginSession();
  assert.deepEqual(await writeAll(second.writer, [a, b, chunkOf(3)]), [
    ids[0],
    ids[1],
    (await writeAll(second.writer, [chunkOf(3)]))[0],
  ]);
  assert.equal(second.writer.statistics.chunksNew, 1);
  await second.commit([]);
});

test('chunks of zeroes are not stored', async () => {
  await using test = await TestRepository.create();
  const session = await (await test.host()).beginSession();
  const ids = await writeAll(session.writer, [Buffer.alloc(5000), Buffer.alloc(1)]);
  assert.ok(ids.every((id) => id.every((byte) => byte === 0)));
  await session.commit([]);
  assert.deepEqual(await namesOf(test.store, 'packs/'), []);
  assert.deepEqual(await namesOf(test.store, 'index/'), []);
});

test('a store that fails ends the session with its error, and nothing is published', async () => {
  await using test = await TestRepository.create({ packSizeBytes: 1000 });
  const { random, clock } = test;
  const store = onPut(test.store, (name) => {
    if (name.startsWith('packs/')) throw new TypeError('no more packs');
  });
  const session = await (await test.host({ store })).beginSession();
  await assert.rejects(async () => {
    for (let content = 0; ; content++) await writeAll(session.writer, [chunkOf(content)]);
  }, /no more packs/);
  await assert.rejects(session.commit([]), /no more packs/);
  assert.deepEqual(await namesOf(test.store, 'index/'), []);
  const failing = faulty(test.store, { random, clock, errorBefore: 1 });
  await assert.rejects(test.host({ store: failing }), (error) =>
    isCofferError(error, 'store-unavailable'),
  );
});

const TEXT = readFileSync(join(import.meta.dirname, '../FORMAT.md'));

test('what waits for the store is compressed harder', async () => {
  const storedOf = async (isSlow: boolean): Promise<number> => {
    await using test = await TestRepository.create({ packSizeBytes: 1000 });
    const gate = Promise.withResolvers<void>();
    if (!isSlow) gate.resolve();
    const store = onPut(test.store, async (name) => {
      if (name.startsWith('packs/')) await gate.promise;
    });
    const { writer } = await (await test.host({ store })).beginSession();
    // As many as are put at once, and one that waits.
    for (let content = 0; content < 5; content++) await writeAll(writer, [chunkOf(content, 2000)]);
    const written = writeAll(writer, [TEXT]);
    await setImmediate();
    gate.resolve();
    await written;
    await writer.flush();
    return writer.statistics.bytesStored;
  };
  const [fast, slow] = [await storedOf(false), await storedOf(true)];
  assert.ok(slow < fast - TEXT.length / 100, `${slow} ${fast}`);
});

test('what trees take is told apart from data', async () => {
  await using test = await TestRepository.create();
  const { writer } = await (await test.host()).beginSession();
  const [id] = await writeAll(writer, [chunkOf(1, 100_000)]);
  await writer.writeNode([id!], Buffer.alloc(0));
  await writer.flush();
  const { bytesStored, bytesStoredNodes } = writer.statistics;
  assert.ok(bytesStoredNodes > 36 && bytesStoredNodes < 1000, `${bytesStoredNodes}`);
  assert.ok(bytesStored > 100_000 + bytesStoredNodes);
});

test('what was flushed is known as stored, and before that it is not', async () => {
  await using test = await TestRepository.create();
  const { writer } = await (await test.host()).beginSession();
  const [id] = await writeAll(writer, [chunkOf(1)]);
  assert.ok(!writer.isStored(id!));
  await writer.flush();
  assert.ok(writer.isStored(id!));
});

test('a store that gives back something else is found out before anything refers to it', async () => {
  for (const folder of ['packs/', 'index/']) {
    await using test = await TestRepository.create();
    const lying = lyingOf(test.store, folder);
    const session = await (
      await test.host({ store: lying })
    ).beginSession({
      readsBack: true,
    });
    await writeAll(session.writer, [chunkOf(1)]);
    await assert.rejects(session.writer.flush(), (error) => isCofferError(error, 'object-damaged'));
    assert.equal(
      session.writer.isStored((await writeAll(session.writer, [chunkOf(1)]))[0]!),
      false,
    );
  }
});

test('what is read back as it was written is stored as always', async () => {
  await using test = await TestRepository.create();
  const session = await (await test.host()).beginSession({ readsBack: true });
  const [id] = await writeAll(session.writer, [chunkOf(1)]);
  await session.writer.flush();
  assert.ok(session.writer.isStored(id!));
  await session.commit([]);
});

/** Flips a bit of what is read from a folder. */
function lyingOf(store: ObjectStore, folder: string): ObjectStore {
  return new Proxy(store, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property);
      if (typeof value !== 'function') return value;
      if (property !== 'get') return value.bind(target) as unknown;
      return async (name: string): Promise<Buffer> => {
        const bytes = Buffer.from(await getWhole(target, name));
        if (name.startsWith(folder)) bytes[bytes.length >> 1]! ^= 1;
        return bytes;
      };
    },
  });
}
