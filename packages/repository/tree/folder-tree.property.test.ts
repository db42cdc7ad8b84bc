import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FILE_TYPES, type FileEntry, isCofferError, isFileName } from '@coffer/base';
import fc from 'fast-check';
import type { ChunkId } from '../chunk/chunk-id.ts';
import { dataId, MemoryNodes } from '../testing/memory-nodes.ts';
import { encodePage } from './folder-codec.ts';
import { findInFolder, readFolder, readFolderWhole, writeFolder } from './folder-tree.ts';

const isDamaged = (error: unknown): boolean => isCofferError(error, 'object-damaged');

const buffers = (maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes));
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const i64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
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
    name: buffers(255).filter(isFileName),
    type: fc.constantFrom(...FILE_TYPES),
    mode: fc.nat(0o7777),
    userId: fc.nat(),
    groupId: fc.nat(),
    modifiedNs: i64,
    changedNs: i64,
    inode: u64,
    hardLink: fc.option(
      fc.record({ device: u64, inode: u64 }).map((link) => ({ ...link })),
      { nil: undefined },
    ),
    extendedAttributes: fc.array(
      fc.record({ name: buffers(255), value: buffers(500) }).map((each) => ({ ...each })),
      {
        maxLength: 3,
      },
    ),
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

function sorted(list: readonly FileEntry[]): FileEntry[] {
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

async function assertDamaged(
  page: { children: readonly ChunkId[]; body: Buffer },
  nodes = new MemoryNodes(),
): Promise<void> {
  const root = await nodes.write(page.children, page.body);
  await assert.rejects(readFolderWhole(nodes.reader, root), isDamaged);
}

test('names that lead elsewhere are damage', async () => {
  for (const name of ['', '.', '..', '../x', '/etc/passwd', 'a/b', 'a\0b', 'x'.repeat(256)]) {
    await assertDamaged(encodePage([fileNamed(name)]));
  }
});

test('names in disorder, twice, or in pages under pages are damage', async () => {
  await assertDamaged(encodePage([fileNamed('b'), fileNamed('a')]));
  await assertDamaged(encodePage([fileNamed('a'), fileNamed('a')]));
  const nodes = new MemoryNodes();
  const inner = await writeFolder(many(5000), nodes.write);
  await assertDamaged({ children: [inner], body: Buffer.from([2, 1, 0x61]) }, nodes);
});

test('an entry without its child, and other nodes, are damage', async () => {
  const folder: FileEntry = { ...fileNamed('f'), type: 'directory', folder: dataId(1) };
  await assertDamaged({ ...encodePage([folder]), children: [] });
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
