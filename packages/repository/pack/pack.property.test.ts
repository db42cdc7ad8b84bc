import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digest, isCofferError, seededRandom } from '@coffer/base';
import fc from 'fast-check';
import { ChunkHasher } from '../chunk/chunk-id.ts';
import { PackKeys } from '../chunk/engine.ts';
import { openChunk } from '../chunk/seal.ts';
import { generateKeyPair } from '../sealed-box.ts';
import { encodeNodeHead } from '../tree/node-codec.ts';
import { type FinishedPack, PackBuilder } from './pack-builder.ts';
import {
  decodePack,
  decodePackEnd,
  isPackIntact,
  PACK_HEAD_SIZE_BYTES,
  packObjectName,
} from './pack-codec.ts';

const random = seededRandom(1);
const keys = generateKeyPair(random);
const packKeys = new PackKeys(keys.privateKey);
const hasher = new ChunkHasher(random.bytes(32));
const isDamaged = (error: unknown): boolean => isCofferError(error, 'object-damaged');

const plains = fc.array(
  fc.uint8Array({ minLength: 1, maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
  { minLength: 1, maxLength: 12 },
);

function newBuilder(sizeBytes?: number): PackBuilder {
  return new PackBuilder({ publicKey: keys.publicKey, random, sizeBytes });
}

function packOf(contents: readonly Buffer[]): FinishedPack {
  const builder = newBuilder();
  for (const plain of contents) builder.add(hasher.data(plain), 'data', plain);
  return builder.finish();
}

function openAll({ bytes, keyBoxes, entries }: FinishedPack): Buffer[] {
  return entries.map((entry) => {
    const record = bytes.subarray(entry.offset, entry.offset + entry.length);
    return openChunk(packKeys.open(keyBoxes[entry.keyIndex]!), entry, record);
  });
}

test('a pack is named by its bytes, describes itself and opens', () => {
  fc.assert(
    fc.property(plains, (contents) => {
      const pack = packOf(contents);
      assert.deepEqual(pack.pack, digest(pack.bytes));
      assert.ok(isPackIntact(pack.bytes, pack.pack));
      const { keyBoxes, entries } = pack;
      assert.deepEqual(decodePack(pack.bytes, 'test'), { keyBoxes, entries });
      assert.deepEqual(openAll(pack), contents);
      assert.equal(entries[0]!.offset, PACK_HEAD_SIZE_BYTES);
    }),
  );
});

test('a footer is read from the end, however much of it is fetched at first', async () => {
  const pack = packOf(Array.from({ length: 50 }, (_, index) => Buffer.from(`content ${index}`)));
  const readEnd = async (length: number): Promise<Buffer> =>
    pack.bytes.subarray(pack.bytes.length - length);
  for (const lengthFirst of [12, 100, 1000, 1_000_000]) {
    const footer = await decodePackEnd(readEnd, pack.bytes.length, 'test', lengthFirst);
    assert.deepEqual(footer, { keyBoxes: pack.keyBoxes, entries: pack.entries });
  }
});

test('chunks move from packs to a pack as they are, and open there', () => {
  fc.assert(
    fc.property(plains, plains, fc.nat(), (first, second, choice) => {
      const packs = [packOf(first), packOf(second)];
      const builder = newBuilder();
      const expected: Buffer[] = [];
      packs.forEach((pack, which) => {
        pack.entries.forEach((entry, index) => {
          if (((choice >> index) & 1) === which && expected.length > 0) return;
          const record = pack.bytes.subarray(entry.offset, entry.offset + entry.length);
          builder.move({ entry, keyBox: pack.keyBoxes[entry.keyIndex]!, record });
          expected.push((which === 0 ? first : second)[index]!);
        });
      });
      const moved = builder.finish();
      assert.deepEqual(openAll(moved), expected);
      assert.ok(moved.keyBoxes.length <= 2);
    }),
    { numRuns: 30 },
  );
});

test('the same chunks, moved again, make a pack of another name', () => {
  const pack = packOf([Buffer.from('content')]);
  const names = [0, 1].map(() => {
    const builder = newBuilder();
    builder.move({ entry: pack.entries[0]!, keyBox: pack.keyBoxes[0]!, record: pack.bytes });
    return packObjectName(builder.finish().pack);
  });
  assert.notEqual(names[0], names[1]);
});

test('a pack is full by its size, and the next one begins anew', () => {
  const builder = newBuilder(1000);
  const content = random.bytes(300);
  const counts: number[] = [];
  for (let pack = 0; pack < 3; pack++) {
    let count = 0;
    while (!builder.isFull) {
      builder.add(hasher.data(Buffer.from([count])), 'data', content);
      count++;
    }
    counts.push(count);
    const finished = builder.finish();
    assert.ok(builder.isEmpty);
    assert.deepEqual(
      finished.entries.map(({ ordinal }) => ordinal),
      finished.entries.map((_, index) => index),
    );
    builder.recycle(finished.bytes.buffer as ArrayBuffer);
  }
  assert.deepEqual(counts, [4, 4, 4]);
});

test('memory that is used again holds nothing of the pack before', () => {
  const builder = newBuilder();
  const first = packOf([Buffer.alloc(1, 1)]);
  builder.add(hasher.data(Buffer.from('a')), 'data', random.bytes(5000));
  const large = builder.finish();
  builder.recycle(large.bytes.buffer as ArrayBuffer);
  builder.add(hasher.data(Buffer.from('b')), 'data', Buffer.from('b'));
  const small = builder.finish();
  assert.equal(small.bytes.length, first.bytes.length);
  assert.deepEqual(openAll(small), [Buffer.from('b')]);
});

test('a node lies with its children in clear before its sealed body', () => {
  const children = [hasher.data(Buffer.from('x')), hasher.data(Buffer.from('y'))];
  const head = encodeNodeHead(children);
  const body = Buffer.from('names of files');
  const builder = newBuilder();
  builder.add(hasher.node(head, body), 'node', body, head);
  const { bytes, entries, keyBoxes } = builder.finish();
  const [entry] = entries;
  const record = bytes.subarray(entry!.offset, entry!.offset + entry!.length);
  assert.deepEqual(record.subarray(0, head.length), head);
  assert.ok(!record.includes(body));
  const key = packKeys.open(keyBoxes[0]!);
  assert.deepEqual(openChunk(key, entry!, record.subarray(head.length)), body);
});

test('a pack that was cut off, or of which a bit was flipped, is found', () => {
  const pack = packOf([Buffer.from('one'), Buffer.from('two')]);
  for (let length = 0; length < pack.bytes.length; length++) {
    assert.throws(() => decodePack(pack.bytes.subarray(0, length), 'test'), isDamaged);
  }
  for (let bit = 0; bit < pack.bytes.length * 8; bit += 3) {
    const changed = Buffer.from(pack.bytes);
    changed[bit >> 3]! ^= 1 << (bit & 7);
    assert.ok(!isPackIntact(changed, pack.pack));
    // The footer may say anything then; it is damage or a footer, never another error.
    try {
      decodePack(changed, 'test');
    } catch (error) {
      assert.ok(isDamaged(error));
    }
  }
});

test('any bytes are a pack or damage', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
      const pack = Buffer.concat([Buffer.from('CFRPACK1'), bytes, Buffer.from('CFRPACK1')]);
      try {
        decodePack(pack, 'test');
      } catch (error) {
        assert.ok(isDamaged(error));
      }
      const readEnd = async (length: number): Promise<Buffer> => pack.subarray(-length);
      await decodePackEnd(readEnd, pack.length, 'test', 64).catch((error: unknown) =>
        assert.ok(isDamaged(error)),
      );
    }),
  );
});
