import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import fc from 'fast-check';
import { ChunkHasher } from './chunk-id.ts';
import { type ChunkToSeal, openChunk, type Seal, SEAL_OVERHEAD_BYTES, sealChunk } from './seal.ts';

const key = seededRandom(1).bytes(32);
const hasher = new ChunkHasher(seededRandom(2).bytes(32));
const isDamaged = (error: unknown): boolean => isCofferError(error, 'chunk-damaged');

const plains = fc.oneof(
  fc.uint8Array({ maxLength: 3000 }).map((bytes) => Buffer.from(bytes)),
  fc.tuple(fc.nat(70_000), fc.nat(255)).map(([length, byte]) => Buffer.alloc(length, byte)),
);
const kinds = fc.constantFrom('data' as const, 'node' as const);
const ordinals = fc.nat(0xffff_ffff);

function sealed(chunk: ChunkToSeal): { seal: Seal; bytes: Buffer } {
  const target = Buffer.alloc(chunk.plain.length + SEAL_OVERHEAD_BYTES);
  const { seal, length } = sealChunk(key, chunk, target);
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

test('any flipped bit is found', () => {
  const plain = Buffer.alloc(300, 'some text that compresses well ');
  const { seal, bytes } = sealed({ id: hasher.data(plain), kind: 'data', ordinal: 7, plain });
  assert.ok(seal.compressed);
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const changed = Buffer.from(bytes);
    changed[bit >> 3]! ^= 1 << (bit & 7);
    assert.throws(() => openChunk(key, seal, changed), isDamaged);
  }
});

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
