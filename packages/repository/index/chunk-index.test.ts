import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import { openMemoryStore } from '@coffer/storage/memory.ts';
import fc from 'fast-check';
import type { PackDescription, PackEntry } from '../pack/pack-codec.ts';
import { kindOf } from '../chunk/chunk-id.ts';
import { dataId } from '../testing/memory-nodes.ts';
import { ChunkIndex } from './chunk-index.ts';
import { EntrySet } from './entry-set.ts';
import {
  decodeIndexObject,
  encodeIndexObject,
  INDEX_OBJECT_SIZE_BYTES_MAX,
  indexGenerationOf,
} from './index-codec.ts';

const random = seededRandom(1);

class TemporaryFolder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'coffer-index-'));

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

function packOf(ids: readonly number[]): PackDescription {
  const entries = ids.map((id, index): PackEntry => ({
    id: dataId(id),
    kind: kindOf(dataId(id)),
    compressed: id % 2 === 0,
    padded: id % 4 === 1,
    keyIndex: 0,
    ordinal: index,
    offset: 24 + index * 100,
    length: 100,
    plainLength: 84 + id,
  }));
  const keyBoxes = [random.bytes(80)];
  return { pack: random.bytes(32), sizeBytes: 24 + ids.length * 100, keyBoxes, entries };
}

/** An index with one object for each list of packs. */
async function filled(
  { path }: TemporaryFolder,
  objects: readonly (readonly PackDescription[])[],
): Promise<ChunkIndex> {
  const index = ChunkIndex.open(path);
  for (const [place, packs] of objects.entries()) await index.add(`index/${place}`, packs);
  return index;
}

function nameOf(index: ChunkIndex, id: number): string | undefined {
  const found = index.find(dataId(id));
  return found && index.requiredPack(found.packNumber).pack.toString('hex');
}

test('an index object reads as it was written, and says its generation', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uniqueArray(fc.nat(999), { minLength: 1 })),
      fc.nat(),
      (lists, generation) => {
        const packs = lists.map(packOf);
        const object = encodeIndexObject(packs, generation);
        assert.deepEqual(decodeIndexObject(object), packs);
        assert.equal(indexGenerationOf(object.name), generation);
      },
    ),
    { numRuns: 30 },
  );
});

test('an index object of which a bit was flipped is damage', () => {
  const { name, bytes } = encodeIndexObject([packOf([1, 2])], 0);
  for (let bit = 0; bit < bytes.length * 8; bit += 5) {
    const changed = Buffer.from(bytes);
    changed[bit >> 3]! ^= 1 << (bit & 7);
    assert.throws(
      () => decodeIndexObject({ name, bytes: changed }),
      (error) => isCofferError(error, 'object-damaged'),
    );
  }
});

test('what was added is found, with all that opening needs, also after opening anew', async () => {
  using folder = new TemporaryFolder();
  const pack = packOf([1, 2, 3, 4, 5, 6]);
  await (await filled(folder, [[pack]])).close();
  const index = ChunkIndex.open(folder.path);
  for (const [entryIndex, entry] of pack.entries.entries()) {
    const { packNumber, ...found } = index.find(entry.id)!;
    const { id: _, ...expected } = entry;
    assert.deepEqual(found, { ...expected, entryIndex });
    const { keyBoxes, pack: name, sizeBytes } = index.requiredPack(packNumber);
    assert.deepEqual(
      { keyBoxes, pack: name, sizeBytes },
      {
        keyBoxes: pack.keyBoxes,
        pack: pack.pack,
        sizeBytes: pack.sizeBytes,
      },
    );
  }
  assert.equal(index.find(dataId(7)), undefined);
  assert.equal(index.chunkCount, 6);
  await index.close();
});

test('a chunk in two packs is found as long as one of them is there', async () => {
  using folder = new TemporaryFolder();
  const store = openMemoryStore();
  const [first, second] = [packOf([1, 2]), packOf([2, 3])];
  const objects = [first, second].map((pack) => encodeIndexObject([pack], 0));
  for (const { name, bytes } of objects) await store.put(name, bytes);
  const index = ChunkIndex.open(folder.path);
  await index.synchronize(store);
  const before = nameOf(index, 2);
  const holder = before === first.pack.toString('hex') ? 0 : 1;
  await store.delete(objects[holder]!.name);
  await index.synchronize(store);
  assert.equal(nameOf(index, 2), (holder === 0 ? second : first).pack.toString('hex'));
  await store.delete(objects[1 - holder]!.name);
  await index.synchronize(store);
  for (const id of [1, 2, 3]) assert.equal(index.find(dataId(id)), undefined);
  await index.close();
});

test('a chunk counts only in packs that are accepted', async () => {
  using folder = new TemporaryFolder();
  const [first, second] = [packOf([1, 2]), packOf([2, 3])];
  const index = await filled(folder, [[first], [second]]);
  const finds = (id: number, objects: string[], condemned: PackDescription[] = []): boolean => {
    const names = new Set(condemned.map(({ pack }) => pack.toString('hex')));
    return index.find(dataId(id), index.acceptor(new Set(objects), names)) !== undefined;
  };
  assert.ok(finds(2, ['index/0']) && finds(2, ['index/1']));
  assert.ok(!finds(1, ['index/1']) && !finds(3, ['index/0']) && !finds(2, []));
  assert.ok(finds(2, ['index/0', 'index/1'], [first]));
  assert.ok(!finds(2, ['index/0', 'index/1'], [first, second]));
  assert.ok(!finds(1, ['index/0', 'index/1'], [first]));
  await index.close();
});

test('what the index holds is what the objects in the store say, whatever came and went', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.array(fc.record({ slot: fc.nat(5), ids: fc.array(fc.nat(12)) }), { maxLength: 5 }),
      ),
      async (turns) => {
        using folder = new TemporaryFolder();
        const store = openMemoryStore();
        const slots = new Map<number, { name: string; ids: readonly number[] }>();
        let index = ChunkIndex.open(folder.path);
        for (const turn of turns) {
          for (const { slot, ids } of turn) {
            const known = slots.get(slot);
            if (known) await store.delete(known.name);
            slots.delete(slot);
            if (ids.length === 0) continue;
            const { name, bytes } = encodeIndexObject([packOf([...new Set(ids)])], 0);
            await store.put(name, bytes);
            slots.set(slot, { name, ids });
          }
          await index.synchronize(store);
          // Another process opens the cache that this one leaves.
          await index.close();
          index = ChunkIndex.open(folder.path);
          const expected = new Set([...slots.values()].flatMap(({ ids }) => ids));
          for (let id = 0; id <= 12; id++) {
            const found = index.find(dataId(id));
            assert.equal(found !== undefined, expected.has(id));
            // Numbers of packs are never used twice: the place is that of this very chunk.
            if (found) assert.equal(found.plainLength, 84 + id);
          }
          assert.equal(index.chunkCount, expected.size, 'what is gone takes no place');
        }
        await index.close();
      },
    ),
    { numRuns: 15 },
  );
});

test('entries of packs that are gone are dropped in steps, wherever the walk begins', async () => {
  using folder = new TemporaryFolder();
  const store = openMemoryStore();
  const count = 9000;
  const groups = Array.from({ length: 4 }, (_, group) =>
    encodeIndexObject([packOf(Array.from({ length: count }, (__, id) => group * count + id))], 0),
  );
  // In two packs: it stays as long as one of them does.
  const twice = encodeIndexObject([packOf([0, count, 2 * count])], 0);
  for (const { name, bytes } of [...groups, twice]) await store.put(name, bytes);
  const index = ChunkIndex.open(folder.path);
  await index.synchronize(store);
  assert.equal(index.chunkCount, 4 * count);
  const remove = async (group: number): Promise<void> => {
    await store.delete(groups[group]!.name);
    await index.synchronize(store, undefined, { staleStepsMax: 1 });
  };
  await remove(0);
  const afterOne = index.chunkCount;
  assert.ok(afterOne < 4 * count && afterOne > 3 * count, 'one step drops some of them');
  // The walk goes on from where it is, around all that is there.
  await remove(1);
  await index.dropStale();
  assert.equal(index.chunkCount, 2 * count + 2);
  for (const id of [0, count, 2 * count]) assert.ok(index.find(dataId(id)));
  assert.ok(!index.find(dataId(1)) && !index.find(dataId(count + 1)));
  await remove(2);
  await remove(3);
  await store.delete(twice.name);
  await index.synchronize(store);
  await index.dropStale();
  assert.equal(index.chunkCount, 0);
  await index.close();
});

test('damaged index objects are told and left out', async () => {
  using folder = new TemporaryFolder();
  const store = openMemoryStore();
  const [good, bad] = [[1], [2]].map((ids) => encodeIndexObject([packOf(ids)], 0));
  await store.put(good!.name, good!.bytes);
  await store.put(bad!.name, Buffer.concat([bad!.bytes, Buffer.from('x')]));
  const index = ChunkIndex.open(folder.path);
  const { damaged, objects } = await index.synchronize(store);
  assert.deepEqual(
    damaged.map(({ code }) => code),
    ['object-damaged'],
  );
  assert.equal(objects.size, 2);
  assert.ok(index.find(dataId(1)) && !index.find(dataId(2)));
  await index.close();
});

test('a cache that was emptied is made anew', async () => {
  using folder = new TemporaryFolder();
  const store = openMemoryStore();
  const object = encodeIndexObject([packOf([1])], 0);
  await store.put(object.name, object.bytes);
  let index = ChunkIndex.open(folder.path);
  await index.synchronize(store);
  await index.close();
  for (const name of readdirSync(folder.path)) truncateSync(join(folder.path, name));
  index = ChunkIndex.open(folder.path);
  await index.synchronize(store);
  assert.ok(index.find(dataId(1)));
  await index.close();
});

test('a set of entries counts each of them once', async () => {
  using folder = new TemporaryFolder();
  const index = await filled(folder, [[packOf([1, 2, 3]), packOf([4])]]);
  const set = new EntrySet(index);
  const places = [1, 2, 4].map((id) => index.find(dataId(id))!);
  assert.deepEqual(
    [...places, ...places].map((place) => set.add(place)),
    [true, true, true, false, false, false],
  );
  assert.ok(places.every((place) => set.has(place)));
  assert.ok(!set.has(index.find(dataId(3))!));
  assert.deepEqual(
    [...set.packs()].map((name) => set.use(name)).map((use) => [use!.count, use!.bytes]),
    [
      [2, 200],
      [1, 100],
    ],
  );
  await index.close();
});

test('an index object that is too large, or names a chunk twice in a pack, is damage', async () => {
  using folder = new TemporaryFolder();
  const store = openMemoryStore();
  const twice = encodeIndexObject([packOf([1, 2, 1])], 0);
  const large = `index/00000000-${'ab'.repeat(32)}`;
  await store.put(twice.name, twice.bytes);
  await store.put(large, Buffer.alloc(INDEX_OBJECT_SIZE_BYTES_MAX + 1));
  const good = encodeIndexObject([packOf([3])], 0);
  await store.put(good.name, good.bytes);
  const index = ChunkIndex.open(folder.path);
  const { damaged } = await index.synchronize(store);
  assert.deepEqual(
    damaged.map(({ code }) => code),
    ['object-damaged', 'object-damaged'],
  );
  assert.ok(index.find(dataId(3)) && !index.find(dataId(1)));
  await index.close();
});

test('of a chunk that is named very often, all places are kept, and go with their packs', async () => {
  using folder = new TemporaryFolder();
  const packs = Array.from({ length: 200 }, () => packOf([1, 2]));
  const index = await filled(folder, [packs.slice(0, 150), packs.slice(150)]);
  assert.equal(index.places(dataId(1)).length, 200);
  assert.equal(new Set(index.places(dataId(1)).map(({ packNumber }) => packNumber)).size, 200);
  assert.equal(index.places(dataId(3)).length, 0);
  await index.close();
});

test('a large object is added in steps, and who comes in between goes on with it', async () => {
  using folder = new TemporaryFolder();
  const count = 3000;
  const packs = Array.from({ length: 8 }, (_, place) =>
    packOf(Array.from({ length: count }, (__, id) => place * count + id)),
  );
  const [one, two] = [ChunkIndex.open(folder.path), ChunkIndex.open(folder.path)];
  const adding = one.add('index/0', packs);
  assert.ok(!one.hasObject('index/0') && one.chunkCount > 0 && one.chunkCount < 8 * count);
  await two.add('index/0', packs);
  await adding;
  assert.ok(one.hasObject('index/0'));
  assert.deepEqual([one.chunkCount, [...one.packs()].length], [8 * count, 8]);
  await one.close();
  await two.close();
});

test('what a killed process has begun to add is finished, or goes with its object', async () => {
  using folder = new TemporaryFolder();
  const store = openMemoryStore();
  const packs = Array.from({ length: 3 }, (_, place) =>
    packOf(Array.from({ length: 5000 }, (__, id) => place * 5000 + id)),
  );
  const object = encodeIndexObject(packs, 0);
  const [stopped, index] = [ChunkIndex.open(folder.path), ChunkIndex.open(folder.path)];
  // The first step is made at once.
  const adding = stopped.add(object.name, packs);
  await index.synchronize(store);
  assert.deepEqual([...index.packs()], [], 'there is no such object');
  await adding;
  await store.put(object.name, object.bytes);
  await index.synchronize(store);
  assert.deepEqual([index.chunkCount, [...index.packs()].length], [15_000, 3]);
  await index.close();
  await stopped.close();
});

test('an index that runs full goes over to a passing folder, and knows all again', async () => {
  using folder = new TemporaryFolder();
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=600k', 'tmpfs', folder.path]);
  try {
    const store = openMemoryStore();
    const objects = Array.from({ length: 12 }, (_, place) =>
      encodeIndexObject([packOf(Array.from({ length: 1500 }, (__, id) => place * 1500 + id))], 0),
    );
    const told: string[] = [];
    const index = ChunkIndex.open(folder.path, { onPassing: (path) => told.push(path) });
    for (const [place, object] of objects.entries()) {
      await store.put(object.name, object.bytes);
      // As one that reads, and as one that writes.
      if (place % 2 === 0) await index.synchronize(store);
      else await index.add(object.name, decodeIndexObject(object));
    }
    assert.equal(told.length, 1);
    await index.synchronize(store);
    assert.equal(index.chunkCount, 12 * 1500);
    assert.ok(index.find(dataId(0)) && index.find(dataId(12 * 1500 - 1)));
    await index.close();
  } finally {
    execFileSync('umount', [folder.path]);
  }
});

test('a folder that cannot be used is none to fail', async () => {
  using folder = new TemporaryFolder();
  const file = join(folder.path, 'file');
  writeFileSync(file, '');
  for (const path of [undefined, file, join(file, 'below')]) {
    const index = ChunkIndex.open(path);
    await index.add('index/0', [packOf([1])]);
    assert.ok(index.find(dataId(1)));
    await index.close();
  }
});
