import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deriveKey, Digest, digest, KeyedDigest } from './digest.ts';

// From BLAKE3's own test vectors: the input of n bytes is 0, 1, 2, … 250, 0, 1, …
const KEY = Buffer.from('whats the Elvish word for friend');
const CONTEXT = 'BLAKE3 2019-12-27 16:29:52 test vectors context';
const VECTORS = [
  {
    length: 0,
    hash: 'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262',
    keyed: '92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26',
    derived: '2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d',
  },
  {
    length: 1,
    hash: '2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213',
    keyed: '6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b',
    derived: 'b3e2e340a117a499c6cf2398a19ee0d29cca2bb7404c73063382693bf66cb06c',
  },
];

for (const { length, hash, keyed, derived } of VECTORS) {
  test(`BLAKE3 of ${length} bytes is that of its test vectors`, () => {
    const input = Buffer.from(Array.from({ length }, (_, index) => index % 251));
    assert.equal(digest(input).toString('hex'), hash);
    assert.equal(new KeyedDigest(KEY).of(input).toString('hex'), keyed);
    assert.equal(deriveKey(CONTEXT, input).toString('hex'), derived);
  });
}

test('parts, pieces and instances used again give the digest of the whole', () => {
  const [first, second] = [Buffer.from('first'), new Uint8Array([1, 2, 3])];
  const whole = digest(Buffer.concat([first, second]));
  assert.deepEqual(digest(first, second), whole);
  assert.deepEqual(new Digest().update(first).update(second).finish(), whole);
  const keyed = new KeyedDigest(KEY);
  const once = keyed.of(first, second);
  keyed.of(Buffer.from('something else'));
  assert.deepEqual(keyed.of(Buffer.concat([first, second])), once);
});

test('a view of a larger buffer counts as what it shows', () => {
  const large = Buffer.from('xxxpartxxx');
  const view = new Uint8Array(large.buffer, large.byteOffset + 3, 4);
  assert.deepEqual(digest(view), digest(Buffer.from('part')));
});
