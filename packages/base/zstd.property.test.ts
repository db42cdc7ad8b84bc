import assert from 'node:assert/strict';
import { test } from 'node:test';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { compressedSizeMax, Compressor, Decompressor } from './zstd.ts';

const contents = fc.oneof(
  fc.uint8Array({ maxLength: 2000 }),
  fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 20 }), fc.nat(500)).map(([part, count]) => {
    return Buffer.concat(Array<Uint8Array>(count).fill(part));
  }),
);

test('what is compressed is what Node reads, and the other way round', () => {
  const compressor = new Compressor(1);
  const decompressor = new Decompressor();
  fc.assert(
    fc.property(contents, (content) => {
      const plain = Buffer.from(content);
      const target = Buffer.alloc(compressedSizeMax(plain.length));
      const length = compressor.compress(plain, target)!;
      assert.deepEqual(zstdDecompressSync(target.subarray(0, length)), plain);
      const opened = Buffer.alloc(plain.length);
      assert.equal(decompressor.decompress(zstdCompressSync(plain), opened), plain.length);
      assert.deepEqual(opened, plain);
    }),
  );
});

test('what does not fit or is no frame is told, and nothing beyond the target is written', () => {
  const compressor = new Compressor(1);
  const decompressor = new Decompressor();
  const plain = Buffer.alloc(5000, 'some text ');
  assert.equal(compressor.compress(plain, Buffer.alloc(4)), undefined);
  const frame = zstdCompressSync(plain);
  const around = Buffer.alloc(200, 0xaa);
  assert.equal(decompressor.decompress(frame, around.subarray(50, 150)), undefined);
  assert.ok(around.subarray(0, 50).every((byte) => byte === 0xaa));
  assert.ok(around.subarray(150).every((byte) => byte === 0xaa));
  assert.equal(decompressor.decompress(Buffer.from('no frame'), Buffer.alloc(100)), undefined);
  assert.equal(decompressor.decompress(frame.subarray(0, -3), Buffer.alloc(6000)), undefined);
  // After failures the same context serves on.
  assert.equal(decompressor.decompress(frame, Buffer.alloc(5000)), 5000);
});
