import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BinaryWriter, FILE_TYPES, type FileEntry, isCofferError, isFileName } from '@coffer/base';
import fc from 'fast-check';
import type { ChunkId } from '../chunk/chunk-id.ts';
import { dataId, MemoryNodes } from '../testing/memory-nodes.ts';
import { encodePage } from './folder-codec.ts';
import { findInFolder, readFolder, readFolderWhole, writeFolder } from './folder-tree.ts';

const isDamaged = (error: unknown): boolean => isCofferError(error, 'object-damaged');

const buffers = (maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes));
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
/** Every time that a kernel can give. */
const times = fc
  .tuple(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.nat(999_999_999))
  .map(([seconds, ns]) => seconds * 1_000_000_000n + BigInt(ns));
const ids = fc.nat().map(dataId);
const pieces = fc.array(
  fc.record({ id: ids, length: fc.nat() }).map((piece) => ({ ...piece })),
  { maxLength: 16 },
);
const contents = fc.oneof(
  pieces.map((list) => ({ form: 'pieces' as const, pieces: list })),
  ids.map((root) => ({ form: 'tree' as const, root })),
);

const entries = fc
  .record({
    name: buffers(700).filter(isFileName),
    type: fc.constantFrom(...FILE_TYPES),
    mode: fc.nat(0o7777),
    userId: fc.nat(),
    groupId: fc.nat(),
    modifiedNs: times,
    changedNs: times,
    inode: u64,
    hardLink: fc.option(
      fc.record({ device: u64, inode: u64 }).map((link) => ({ ...link })),
      { nil: undefined },
    ),
    extendedAttributes: fc
      .array(
        fc
          .record({ name: buffers(255).filter(({ length }) => length > 0), value: buffers(500) })
          .map((each) => ({ ...each })),
        { maxLength: 3 },
      )
      .map(sorted),
    sizeBytes: fc.maxSafeNat(),
    content: contents,
    folder: ids,
    linkTarget: buffers(300),
    deviceNumber: u64,
  })
  .map(fitting);

/** Leaves out what an entry of the type does not have. */
function fitting(entry: FileEntry): FileEntry {
  const { type } = entry;
  const isDevice = type === 'character-device' || type === 'block-device';
  return {
    ...entry,
    sizeBytes: type === 'file' ? entry.sizeBytes : 0,
    content: type === 'file' ? entry.content : undefined,
    folder: type === 'directory' ? entry.folder : undefined,
    linkTarget: type === 'symlink' ? entry.linkTarget : undefined,
    deviceNumber: isDevice ? entry.deviceNumber : undefined,
  };
}

function sorted<T extends { readonly name: Buffer }>(list: readonly T[]): T[] {
  const byName = new Map(list.map((entry) => [entry.name.toString('latin1'), entry]));
  return [...byName.values()].sort((a, b) => Buffer.compare(a.name, b.name));
}

function fileNamed(name: string | Buffer): FileEntry {
  return {
    name: Buffer.from(name),
    type: 'file',
    mode: 0o644,
    userId: 0,
    groupId: 0,
    modifiedNs: 0n,
    changedNs: 0n,
    inode: 1n,
    hardLink: undefined,
    extendedAttributes: [],
    sizeBytes: 0,
    content: { form: 'pieces', pieces: [] },
    folder: undefined,
    linkTarget: undefined,
    deviceNumber: undefined,
  };
}

function many(count: number): FileEntry[] {
  return sorted(Array.from({ length: count }, (_, index) => fileNamed(`name-${index * 7919}`)));
}

test('a folder reads as it was written, whatever its entries hold', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(entries, { maxLength: 20 }), async (list) => {
      const nodes = new MemoryNodes();
      const expected = sorted(list);
      const root = await writeFolder(expected, nodes.write);
      assert.deepEqual(await readFolderWhole(nodes.reader, root), expected);
      for (const entry of expected) {
        assert.deepEqual(await findInFolder(nodes.reader, root, entry.name), entry);
      }
    }),
    { numRuns: 60 },
  );
});

test('folders of any size read whole and by name', async () => {
  for (const count of [0, 1, 255, 256, 257, 2048, 2049, 5000, 70_000]) {
    const nodes = new MemoryNodes();
    const expected = many(count);
    const root = await writeFolder(expected, nodes.write);
    let read = 0;
    for await (const { name } of readFolder(nodes.reader, root)) {
      assert.ok(name.equals(expected[read++]!.name));
    }
    assert.equal(read, count);
    for (const at of [0, 1, count >> 1, count - 1]) {
      const entry = expected[at];
      if (entry) assert.deepEqual(await findInFolder(nodes.reader, root, entry.name), entry);
    }
    for (const name of ['', 'a', 'name-', 'name-1x', 'zzz']) {
      assert.equal(await findInFolder(nodes.reader, root, Buffer.from(name)), undefined);
    }
  }
});

test('a new name, a removed and a changed one change a page or two of a large folder', async () => {
  const nodes = new MemoryNodes();
  const list = many(20_000);
  await writeFolder(list, nodes.write);
  const check = async (changed: readonly FileEntry[]): Promise<void> => {
    const before = nodes.count;
    await writeFolder(changed, nodes.write);
    assert.ok(nodes.count - before <= 4, `${nodes.count - before} nodes are new`);
  };
  await check(sorted([...list, fileNamed('name-5')]));
  await check(list.toSpliced(9000, 1));
  await check(list.with(10_000, { ...list[10_000]!, mode: 0o600 }));
});

test('large attributes end a page, so that no node comes near its limit', async () => {
  const nodes = new MemoryNodes();
  const value = Buffer.alloc(60_000, 1);
  const list = many(100).map((entry) => ({
    ...entry,
    extendedAttributes: [{ name: Buffer.from('user.x'), value }],
  }));
  const root = await writeFolder(list, nodes.write);
  assert.deepEqual(await readFolderWhole(nodes.reader, root), list);
  assert.ok(nodes.count > 4);
});

test('folders of long names get nodes over nodes, each far below the limit of a record', async () => {
  const nodes = new MemoryNodes();
  const write: typeof nodes.write = async (children, body) => {
    assert.ok(body.length < 6 * 1024 * 1024);
    return await nodes.write(children, body);
  };
  const value = Buffer.alloc(65_536);
  const extendedAttributes = Array.from({ length: 16 }, (_, index) => ({
    name: Buffer.from(`user.${String.fromCodePoint(97 + index)}`),
    value,
  }));
  // Each entry is a page of its own, and 260 of them name 1 MiB.
  const list = many(300).map((entry) => {
    const name = Buffer.concat([entry.name, Buffer.alloc(4000, 'x')]);
    return { ...entry, name, extendedAttributes };
  });
  const root = await writeFolder(sorted(list), write);
  let read = 0;
  for await (const { name } of readFolder(nodes.reader, root)) {
    assert.ok(name.equals(sorted(list)[read++]!.name));
  }
  assert.equal(read, list.length);
  for (const entry of [list[0]!, list[200]!, list[299]!]) {
    assert.deepEqual(await findInFolder(nodes.reader, root, entry.name), entry);
  }
});

async function assertDamaged(
  page: { children: readonly ChunkId[]; body: Buffer },
  nodes = new MemoryNodes(),
): Promise<void> {
  const root = await nodes.write(page.children, page.body);
  await assert.rejects(readFolderWhole(nodes.reader, root), isDamaged);
}

test('names that lead elsewhere are damage', async () => {
  const { children, body } = encodePage([fileNamed('xxx')]);
  const at = body.indexOf('xxx');
  for (const name of ['', '.', '..', 'a/b', '/ab', 'a\0b', 'x'.repeat(4096)]) {
    const length = new BinaryWriter().varint(name.length).finish();
    const parts = [body.subarray(0, at - 1), length, Buffer.from(name), body.subarray(at + 3)];
    await assertDamaged({ children, body: Buffer.concat(parts) });
  }
});

/** The body of a node over one part. */
function over(firstName: string): Buffer {
  return Buffer.from(new BinaryWriter().u8(2).text(firstName).finish());
}

test('names in disorder, twice, or in pages under pages are damage', async () => {
  const { children, body } = encodePage([fileNamed('a'), fileNamed('b')]);
  for (const name of ['a', 'c']) {
    const changed = Buffer.from(body.toString('latin1').replace(/[ab]/g, name), 'latin1');
    await assertDamaged({ children, body: changed });
  }
  const nodes = new MemoryNodes();
  const inner = await writeFolder(many(5000), nodes.write);
  let outer = inner;
  for (let levels = 0; levels < 4; levels++) outer = await nodes.write([outer], over('name-0'));
  await assertDamaged({ children: [outer], body: over('name-0') }, nodes);
  await assertDamaged({ children: [inner], body: over('another') }, nodes);
});

test('an entry without its child, and other nodes, are damage', async () => {
  const folder: FileEntry = {
    ...fileNamed('f'),
    type: 'directory',
    content: undefined,
    folder: dataId(1),
  };
  await assertDamaged({ ...encodePage([folder]), children: [] });
  await assertDamaged({ ...encodePage([folder]), children: [dataId(1), dataId(2)] });
  await assertDamaged({ children: [], body: Buffer.from([3]) });
  await assertDamaged({ children: [], body: Buffer.alloc(0) });
});

test('a page that was cut off or altered is a folder or damage, never another error', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(entries, { maxLength: 3 }),
      fc.nat(),
      fc.nat(255),
      async (list, at, byte) => {
        const { children, body } = encodePage(sorted(list));
        const nodes = new MemoryNodes();
        const changed = Buffer.from(body);
        changed[at % body.length] = byte;
        for (const bytes of [changed, body.subarray(0, at % body.length)]) {
          const root = await nodes.write(children, bytes);
          await readFolderWhole(nodes.reader, root).then(
            (read) => assert.ok(read.every(({ name }) => isFileName(name))),
            (error: unknown) => assert.ok(isDamaged(error)),
          );
        }
      },
    ),
  );
});
