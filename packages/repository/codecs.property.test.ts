/**
 * One property of everything that is stored: what is encoded can be decoded, and is what it was; what
 * could not be decoded is refused by who would write it. The values are far outside of what is allowed.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BinaryWriter,
  FILE_TYPES,
  type FileEntry,
  isCofferError,
  seededRandom,
} from '@coffer/base';
import { AssertionError } from '@coffer/base';
import fc from 'fast-check';
import { PADDINGS } from './chunk/padding.ts';
import { decodeConfig, encodeConfig, GEOMETRY, type RepositoryConfig } from './config.ts';
import { decodeMark, encodeMark } from './damaged-points.ts';
import { checkDeletion, deletionName, encodeDeletion } from './deleted-points.ts';
import { decodeGcRecord, encodeGcRecord, type GcStep } from './generations/gc-record.ts';
import { checkHold, encodeHold, holdName } from './hold.ts';
import { decodeIndexObject, encodeIndexObject } from './index/index-codec.ts';
import { decodeKeySlot, encodeKeySlot, type KeySlot } from './keys.ts';
import { decodePack, encodePackEnd, PACK_MAGIC, type PackEntry } from './pack/pack-codec.ts';
import { decodePoint, encodePoint, openManifest, type PointHeader } from './recovery-point.ts';
import { checkReceipt, encodeReceipt, receiptName } from './receipt.ts';
import { publicKeyOf } from './sealed-box.ts';
import {
  decodeBegin,
  decodeEnd,
  encodeBegin,
  encodeEnd,
  type SessionEnd,
} from './session/session-record.ts';
import { MemoryNodes } from './testing/memory-nodes.ts';
import { ContentBuilder, contentPieces } from './tree/content-tree.ts';
import { encodePage } from './tree/folder-codec.ts';
import { findInFolder, readFolderWhole, writeFolder } from './tree/folder-tree.ts';
import { decodeNodeHead, encodeNodeHead, NODE_CHILDREN_MAX } from './tree/node-codec.ts';

interface Codec<T> {
  readonly values: fc.Arbitrary<T>;
  /** Decodes what it encodes; returns what came out, and what had to. */
  readonly roundTrip: (
    value: T,
  ) => [actual: unknown, expected: unknown] | Promise<[unknown, unknown]>;
}

/** A value is refused before anything is written, or comes back as it was. */
function check<T>(name: string, { values, roundTrip }: Codec<T>, counts = { numRuns: 300 }): void {
  test(`${name}: what is encoded is decoded as it was, or refused`, async () => {
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(values, async (value) => {
        const [actual, expected] = (await unlessRefused(() => roundTrip(value))) ?? [0, 0];
        if (expected !== 0) accepted++;
        assert.deepEqual(actual, expected);
      }),
      counts,
    );
    assert.ok(accepted > 0, 'some values are right');
  });
}

async function unlessRefused<T>(task: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await task();
  } catch (error) {
    const isRefused =
      error instanceof AssertionError ||
      error instanceof RangeError ||
      isCofferError(error, 'usage');
    if (isRefused) return undefined;
    throw error;
  }
}

/** Objects as they are written in code, and not without a prototype. */
function record<T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record<T>(model, { noNullPrototype: true });
}

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom('constructor', '__proto__', 'x'.repeat(1025), '\ud800', ''),
);
const numbers = fc.oneof(
  { weight: 8, arbitrary: fc.nat() },
  { weight: 1, arbitrary: fc.maxSafeInteger() },
  { weight: 1, arbitrary: fc.constantFrom(-1, 0.5, 2 ** 32, 2 ** 53, 2 ** 63, NaN, Infinity) },
);
const hexOf = (sizeBytes: number): fc.Arbitrary<string> =>
  fc.oneof(
    {
      weight: 20,
      arbitrary: fc
        .uint8Array({ minLength: sizeBytes, maxLength: sizeBytes })
        .map((bytes) => Buffer.from(bytes).toString('hex')),
    },
    { weight: 1, arbitrary: fc.constantFrom('', 'ab', 'AB'.repeat(sizeBytes)) },
  );
const bytesOf = (sizeBytes: number): fc.Arbitrary<Buffer> =>
  fc
    .oneof(
      { weight: 100, arbitrary: fc.uint8Array({ minLength: sizeBytes, maxLength: sizeBytes }) },
      { weight: 1, arbitrary: fc.uint8Array({ maxLength: sizeBytes - 1 }) },
    )
    .map((bytes) => Buffer.from(bytes));
/** As JSON says it: without `-0`, and without prototypes. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value)) as unknown;

check<RepositoryConfig>('config', {
  values: record({
    repositoryId: hexOf(16),
    publicKey: hexOf(32),
    hashKeyCheck: hexOf(32),
    diskChunkSizeBytes: fc.constantFrom<number>(GEOMETRY.diskChunkSizeBytes, 1),
    nodeFanOut: fc.constantFrom<number>(GEOMETRY.nodeFanOut, 2),
    fileChunkSizeBytes: fc.constant(GEOMETRY.fileChunkSizeBytes),
    padding: fc.constantFrom(...PADDINGS),
    createdAt: numbers,
  }),
  roundTrip: (config) => {
    const encoded = refusingGeometry(() => encodeConfig(config));
    return [decodeConfig(encoded, 'config'), plain(config)];
  },
});

/** Other sizes are another version of the format, for who writes and who reads. */
function refusingGeometry<T>(task: () => T): T {
  try {
    return task();
  } catch (error) {
    if (isCofferError(error, 'repository-version')) throw new RangeError('another version');
    throw error;
  }
}

check<KeySlot>('key slot', {
  values: record({
    slot: fc.constant('0123456789abcdef'),
    publicKey: hexOf(32),
    kind: fc.constantFrom('passphrase', 'recovery'),
    label: fc.oneof(text, fc.constant('y'.repeat(201))),
    createdAt: numbers,
    wrapped: hexOf(80),
  }),
  roundTrip: (slot) => [decodeKeySlot(slot.slot, encodeKeySlot(slot)), plain(slot)],
});

const privateKey = Buffer.alloc(32, 7);
const keys = { privateKey, publicKey: publicKeyOf(privateKey), hashKey: Buffer.alloc(32, 8) };
const random = seededRandom(9);

check<{ header: PointHeader; manifest: unknown }>('point and manifest', {
  values: record({
    header: record({
      item: text,
      kind: fc.constantFrom('files', 'disk', 'vm'),
      takenAt: numbers,
      roots: fc.array(
        record({
          name: fc.constantFrom('files', 'disk', 'vda', '..', ''),
          root: hexOf(32),
          sizeBytes: numbers,
        }),
        { maxLength: 3 },
      ),
      tags: fc.dictionary(text, text, { maxKeys: 3, noNullPrototype: true }),
    }),
    manifest: fc.jsonValue(),
  }),
  roundTrip: ({ header, manifest }) => {
    const { id, bytes } = encodePoint(header, manifest, { ...keys, random });
    const { mac: _mac, manifest: _sealed, ...decoded } = decodePoint(id, bytes, keys.hashKey);
    const opened = openManifest(decodePoint(id, bytes, keys.hashKey), keys);
    return [
      { decoded: plain(decoded), opened },
      { decoded: plain(header), opened: plain(manifest) },
    ];
  },
});

check('session begin', {
  values: record({
    session: hexOf(16),
    startedAt: numbers,
    host: text,
    process: fc.option(
      record({
        bootId: text,
        pidNamespace: text,
        processId: numbers,
        startedAtTicks: numbers,
      }),
      { nil: undefined },
    ),
  }),
  roundTrip: (begin) => [decodeBegin(encodeBegin(begin), 'begin'), plain(begin)],
});

check<SessionEnd>('session end', {
  values: fc.oneof(
    record({
      session: hexOf(16),
      outcome: fc.constant('committed'),
      generation: numbers,
      points: fc.array(record({ id: hexOf(16), item: text, record: fc.base64String() })),
    }),
    record({ session: hexOf(16), outcome: fc.constant('fenced'), by: text }),
  ),
  roundTrip: (end) => [decodeEnd(encodeEnd(end), 'end'), plain(end)],
});

check<{ step: GcStep; record: { generation: number } }>('garbage collection', {
  values: record({
    step: fc.constantFrom('condemned', 'waiting', 'sweep', 'done'),
    record: record({
      generation: numbers,
      collection: hexOf(16),
      packs: fc.array(hexOf(32), { maxLength: 3 }),
      sessions: fc.array(hexOf(16), { maxLength: 3 }),
      survivors: fc.array(hexOf(16), { maxLength: 3 }),
      indexObjects: fc.array(text, { maxLength: 3 }),
    }),
  }),
  roundTrip: ({ step, record }) => {
    const decoded = decodeGcRecord(step, encodeGcRecord(step, record), 'gc');
    const expected = Object.fromEntries(
      Object.entries(record).filter(([name]) => Object.hasOwn(decoded, name)),
    );
    return [decoded, plain(expected)];
  },
});

const optionalNumbers = fc.option(numbers, { nil: undefined });

check('hold', {
  values: record({
    point: hexOf(16),
    holder: fc.oneof(text, fc.constantFrom('person', 'instant-1', '.', '-', 'A', 'h'.repeat(65))),
    reason: text,
    until: optionalNumbers,
    by: text,
    heldAt: numbers,
  }),
  roundTrip: (hold) => [checkHold(encodeHold(hold), holdName(hold)), plain(hold)],
});

check('mark of a deleted point', {
  values: record({ point: hexOf(16), at: numbers, until: numbers, by: text }),
  roundTrip: (deletion) => [
    checkDeletion(encodeDeletion(deletion), deletionName(deletion.point)),
    plain(deletion),
  ],
});

check('receipt', {
  values: record({
    point: hexOf(16),
    arrivedAt: numbers,
    agent: text,
    job: text,
    occurrence: optionalNumbers,
  }),
  roundTrip: (receipt) => {
    const bytes = encodeReceipt(receipt, keys.hashKey);
    return [checkReceipt(bytes, receiptName(receipt.point), keys.hashKey), plain(receipt)];
  },
});

check('mark of a damaged point', {
  values: record({ point: hexOf(16), foundAt: numbers }),
  roundTrip: (mark) => [decodeMark(encodeMark(mark), 'mark'), plain(mark)],
});

const packEntries: fc.Arbitrary<PackEntry> = record({
  id: bytesOf(32),
  kind: fc.constantFrom('data', 'node'),
  compressed: fc.boolean(),
  padded: fc.boolean(),
  keyIndex: fc.nat(2),
  ordinal: fc.oneof(fc.nat(), fc.constant(2 ** 32)),
  offset: fc.nat(1000),
  length: fc.oneof({ weight: 9, arbitrary: fc.nat(1000) }, fc.nat()),
  plainLength: fc.oneof({ weight: 9, arbitrary: fc.nat(1000) }, fc.nat()),
});
const footers = record({
  keyBoxes: fc.array(bytesOf(80), { minLength: 1, maxLength: 2 }),
  entries: fc.array(packEntries, { maxLength: 3 }),
});

check('pack footer', {
  values: footers,
  roundTrip: (footer) => {
    const records = Buffer.alloc(1500);
    PACK_MAGIC.copy(records);
    const pack = Buffer.concat([records, encodePackEnd(footer, records.length)]);
    return [decodePack(pack, 'pack'), footer];
  },
});

check('index object', {
  values: fc.array(
    fc
      .record({ pack: bytesOf(32), sizeBytes: fc.nat(3000), footer: footers })
      .map(({ footer, ...pack }) => ({ ...pack, ...footer })),
    { maxLength: 3 },
  ),
  roundTrip: (packs) => [decodeIndexObject(encodeIndexObject(packs, 3)), packs],
});

check('head of a node', {
  values: fc.oneof(
    fc.array(bytesOf(32), { maxLength: 5 }),
    fc.constantFrom(NODE_CHILDREN_MAX, NODE_CHILDREN_MAX + 1).map((count) => {
      return Array<Buffer>(count).fill(Buffer.alloc(32, 1));
    }),
  ),
  roundTrip: (children) => [decodeNodeHead(encodeNodeHead(children)), children],
});

const pieces = record({ id: bytesOf(32), length: numbers });

check('list of content', {
  values: fc.oneof(
    fc.array(pieces, { maxLength: 20 }),
    fc.array(pieces, { minLength: 200, maxLength: 300, size: 'max' }),
  ),
  roundTrip: async (list) => {
    const nodes = new MemoryNodes();
    const builder = new ContentBuilder(nodes.write);
    for (const piece of list) await builder.add(piece);
    const content = await builder.finish();
    // What stands in the folder itself is checked there.
    if (content.form === 'pieces') return [content.pieces, list];
    const read = [];
    for await (const piece of contentPieces(nodes.reader, content)) read.push({ ...piece });
    return [read, list];
  },
});

const raw = (maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes));
const wide = fc.oneof(
  { weight: 9, arbitrary: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }) },
  { weight: 1, arbitrary: fc.bigInt({ min: -(2n ** 100n), max: 2n ** 100n }) },
);
const unsigned = fc.oneof(
  { weight: 20, arbitrary: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) },
  { weight: 1, arbitrary: fc.constantFrom(-1n, 2n ** 64n) },
);
const names = fc.oneof(
  { weight: 9, arbitrary: raw(40) },
  fc
    .constantFrom('', '.', '..', 'a/b', 'a\0b', 'x'.repeat(4095), 'x'.repeat(4096))
    .map((name) => Buffer.from(name)),
);
const optional = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(value, { nil: undefined, freq: 2 });

const anyEntry: fc.Arbitrary<FileEntry> = record({
  name: names,
  type: fc.constantFrom(...FILE_TYPES),
  mode: fc.oneof(fc.nat(0o7777), fc.nat(0o17777)),
  userId: numbers,
  groupId: numbers,
  modifiedNs: wide,
  changedNs: wide,
  inode: unsigned,
  sizeBytes: fc.oneof(fc.constant(0), numbers),
  hardLink: optional(record({ device: unsigned, inode: unsigned })),
  extendedAttributes: fc.array(
    record({
      name: fc.oneof(raw(10), fc.constant(Buffer.alloc(256, 'n'))),
      value: fc.oneof(
        raw(10),
        fc.constantFrom(65_536, 65_537).map((size) => Buffer.alloc(size)),
      ),
    }),
    { maxLength: 2 },
  ),
  content: optional(
    fc.oneof(
      record({
        form: fc.constant('pieces' as const),
        pieces: fc.array(pieces, { maxLength: 18 }),
      }),
      record({ form: fc.constant('tree' as const), root: bytesOf(32) }),
    ),
  ),
  folder: optional(bytesOf(32)),
  linkTarget: optional(fc.oneof(raw(20), fc.constant(Buffer.alloc(65_536, 'l')))),
  deviceNumber: optional(unsigned),
});

/** Most of them fit their type, so that the rest of them is looked at too. */
const entries = fc
  .record({ entry: anyEntry, fits: fc.integer({ min: 0, max: 9 }) })
  .map(({ entry, fits }) => (fits === 0 ? entry : fitting(entry)));

function fitting(entry: FileEntry): FileEntry {
  const { type } = entry;
  const isDevice = type === 'character-device' || type === 'block-device';
  return {
    ...entry,
    sizeBytes: type === 'file' ? entry.sizeBytes : 0,
    content: type === 'file' ? (entry.content ?? { form: 'pieces', pieces: [] }) : undefined,
    folder: type === 'directory' ? (entry.folder ?? Buffer.alloc(32, 1)) : undefined,
    linkTarget: type === 'symlink' ? (entry.linkTarget ?? Buffer.alloc(0)) : undefined,
    deviceNumber: isDevice ? (entry.deviceNumber ?? 0n) : undefined,
  };
}

check(
  'folder',
  {
    values: fc.array(entries, { maxLength: 2 }),
    roundTrip: async (list) => {
      const nodes = new MemoryNodes();
      const root = await writeFolder(list, nodes.write);
      for (const entry of list) {
        assert.deepEqual(await findInFolder(nodes.reader, root, entry.name), entry);
      }
      return [await readFolderWhole(nodes.reader, root), list];
    },
  },
  { numRuns: 3000 },
);

test('the encoder refuses each thing that the decoder of folders would refuse', () => {
  const file = fitting({ ...SAMPLE, type: 'file' });
  const wrong: Partial<FileEntry>[] = [
    { name: Buffer.alloc(4096, 'x') },
    { mode: 0o10000 },
    { userId: 2 ** 32 },
    { groupId: -1 },
    { modifiedNs: 2n ** 63n * 1_000_000_000n },
    { changedNs: -(2n ** 63n) * 1_000_000_000n - 1n },
    { sizeBytes: 2 ** 53 },
    { inode: -1n },
    { hardLink: { device: 2n ** 64n, inode: 1n } },
    { extendedAttributes: [{ name: Buffer.alloc(0), value: Buffer.alloc(0) }] },
    { linkTarget: Buffer.from('a file leads nowhere') },
    { content: undefined },
  ];
  for (const each of wrong) {
    assert.throws(() => encodePage([{ ...file, ...each }]), AssertionError, Object.keys(each)[0]);
  }
  assert.throws(() => encodePage([file, file]), AssertionError, 'a name twice');
  assert.throws(() => new BinaryWriter().varint(2 ** 53), AssertionError);
});

const SAMPLE: FileEntry = {
  name: Buffer.from('name'),
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
  content: undefined,
  folder: undefined,
  linkTarget: undefined,
  deviceNumber: undefined,
};
