import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import fc from 'fast-check';
import { ChunkHasher } from './chunk-id.ts';
import { type Padding, paddedSize, PADDINGS } from './padding.ts';
import {
  type ChunkToSeal,
  fitsLength,
  openChunk,
  type Seal,
  sealChunk,
  sealedSizeMax,
} from './seal.ts';

const key = seededRandom(1).bytes(32);
const hasher = new ChunkHasher(seededRandom(2).bytes(32));
const isDamaged = (error: unknown): boolean => isCofferError(error, 'chunk-damaged');

const plains = fc.oneof(
  fc.uint8Array({ maxLength: 3000 }).map((bytes) => Buffer.from(bytes)),
  fc.tuple(fc.nat(70_000), fc.nat(255)).map(([length, byte]) => Buffer.alloc(length, byte)),
);
const kinds = fc.constantFrom('data' as const, 'node' as const);
const ordinals = fc.nat(0xffff_ffff);

function sealed(chunk: ChunkToSeal, padding?: Padding): { seal: Seal; bytes: Buffer } {
  const target = Buffer.alloc(sealedSizeMax(chunk.plain.length));
  const { seal, length } = sealChunk(key, chunk, target, { padding });
  return { seal, bytes: target.subarray(0, length) };
}

test('a chunk opens to what was sealed, and is never much larger', () => {
  fc.assert(
    fc.property(plains, kinds, ordinals, (plain, kind, ordinal) => {
      const { seal, bytes } = sealed({ id: hasher.data(plain), kind, ordinal, plain });
      assert.ok(bytes.length <= plain.length + 16);
      assert.deepEqual(openChunk(key, seal, bytes), plain);
    }),
  );
});

test('a padded chunk opens to what was sealed, and shows of its sizes their classes', () => {
  fc.assert(
    fc.property(
      plains,
      kinds,
      fc.constantFrom('classes', 'full'),
      fc.nat(4000),
      (plain, kind, padding, other) => {
        const { seal, bytes } = sealed(
          { id: hasher.data(plain), kind, ordinal: 1, plain },
          padding,
        );
        assert.deepEqual(openChunk(key, seal, bytes), plain);
        assert.ok(seal.padded && !seal.compressed, 'whether it is compressed is not told');
        assert.ok(fitsLength(seal, plain.length));
        assert.equal(fitsLength(seal, other), paddedSize(other) === paddedSize(plain.length));
        const content = bytes.length - 20;
        assert.equal(content, paddedSize(content), 'it is the end of a class');
        if (padding === 'full') assert.equal(content, paddedSize(plain.length));
      },
    ),
  );
});

test('there are 16 classes of sizes between two powers of two, which are classes themselves', () => {
  for (let size = 256; size < 2 ** 20; size *= 2) {
    const sizes = Array.from({ length: 1000 }, (_each, part) =>
      Math.ceil(size * (1 + part / 1000)),
    );
    const classes = new Set(sizes.map(paddedSize));
    assert.deepEqual([classes.size, paddedSize(size)], [17, size]);
    assert.ok(
      sizes.every((each) => paddedSize(each) >= each && paddedSize(each) <= each * 1.0625 + 1),
    );
  }
});

for (const padding of PADDINGS) {
  test(`any flipped bit is found, with padding ${padding}`, () => {
    const plain = Buffer.alloc(300, 'some text that compresses well ');
    const chunk = { id: hasher.data(plain), kind: 'data', ordinal: 7, plain } as const;
    const { seal, bytes } = sealed(chunk, padding);
    assert.equal(seal.compressed, padding === 'none');
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3]! ^= 1 << (bit & 7);
      assert.throws(() => openChunk(key, seal, changed), isDamaged);
    }
  });
}

test('a chunk cannot be passed off as another, and not be cut off', () => {
  fc.assert(
    fc.property(plains, ordinals, (plain, ordinal) => {
      const { seal, bytes } = sealed({ id: hasher.data(plain), kind: 'data', ordinal, plain });
      const other = hasher.data(Buffer.from('other'));
      for (const changed of [
        { ...seal, id: other },
        { ...seal, kind: 'node' as const },
        { ...seal, ordinal: (ordinal + 1) % 2 ** 32 },
        { ...seal, compressed: !seal.compressed },
        { ...seal, padded: true },
        { ...seal, plainLength: plain.length + 1 },
      ]) {
        assert.throws(() => openChunk(key, changed, bytes), isDamaged);
      }
      assert.throws(() => openChunk(seededRandom(9).bytes(32), seal, bytes), isDamaged);
      assert.throws(() => openChunk(key, seal, bytes.subarray(1)), isDamaged);
      assert.throws(() => openChunk(key, seal, bytes.subarray(0, 10)), isDamaged);
    }),
    { numRuns: 40 },
  );
});

test('data and nodes of the same bytes have different ids', () => {
  const bytes = Buffer.from('same');
  assert.notDeepEqual(hasher.data(bytes), hasher.node(Buffer.alloc(0), bytes));
});
