import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { AesGcm, GCM_TAG_SIZE_BYTES } from './aes-gcm.ts';

const bytes = (size: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength: size, maxLength: size }).map((value) => Buffer.from(value));
const text: fc.Arbitrary<Buffer> = fc
  .uint8Array({ maxLength: 300 })
  .map((value) => Buffer.from(value));
const messages = fc.record({ key: bytes(32), nonce: bytes(12), associated: text });
const gcm = new AesGcm();

test('it is the AES-256-GCM of node:crypto, both ways', () => {
  fc.assert(
    fc.property(messages, text, (message, plain) => {
      const { key, nonce, associated } = message;
      const cipher = createCipheriv('aes-256-gcm', key, nonce);
      cipher.setAAD(associated);
      const ciphertext = Buffer.concat([cipher.update(plain), cipher.final()]);
      const expected = Buffer.concat([ciphertext, cipher.getAuthTag()]);
      const sealed = Buffer.alloc(plain.length + GCM_TAG_SIZE_BYTES);
      assert.equal(gcm.seal(message, plain, sealed), sealed.length);
      assert.deepEqual(sealed, expected);
      const decipher = createDecipheriv('aes-256-gcm', key, nonce);
      decipher.setAAD(associated);
      decipher.setAuthTag(sealed.subarray(plain.length));
      const opened = Buffer.alloc(plain.length);
      assert.ok(gcm.open(message, sealed, opened));
      assert.deepEqual(opened, plain);
      decipher.update(sealed.subarray(0, plain.length));
      decipher.final();
    }),
  );
});

test('whatever is altered, it does not open, and the next message does', () => {
  fc.assert(
    fc.property(messages, text, fc.nat(), (message, plain, bit) => {
      const sealed = Buffer.alloc(plain.length + GCM_TAG_SIZE_BYTES);
      gcm.seal(message, plain, sealed);
      const target = Buffer.alloc(plain.length);
      const opens = (changed: Partial<typeof message>, bytes: Buffer = sealed): boolean =>
        gcm.open({ ...message, ...changed }, bytes, target);
      assert.ok(!opens({}, flip(sealed, bit)));
      assert.ok(!opens({ key: flip(message.key, bit) }));
      assert.ok(!opens({ nonce: flip(message.nonce, bit) }));
      assert.ok(!opens({ associated: Buffer.concat([message.associated, Buffer.from([0])]) }));
      assert.ok(!opens({}, sealed.subarray(0, bit % sealed.length)));
      assert.ok(opens({}));
    }),
  );
});

function flip(original: Buffer, bit: number): Buffer {
  const changed = Buffer.from(original);
  const at = bit % (changed.length * 8);
  changed[at >> 3]! ^= 1 << (at & 7);
  return changed;
}
