import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import fc from 'fast-check';
import {
  BOX_OVERHEAD_BYTES,
  generateKeyPair,
  openBox,
  publicKeyOf,
  sealBox,
} from './sealed-box.ts';

const random = seededRandom(3);
const { publicKey, privateKey } = generateKeyPair(random);
const bytes = fc.uint8Array({ maxLength: 200 }).map((value) => Buffer.from(value));
const isDamaged = (error: unknown): boolean => isCofferError(error, 'object-damaged');

test('the private key opens what was sealed to its public key', () => {
  fc.assert(
    fc.property(bytes, bytes, (content, associated) => {
      const box = sealBox({ publicKey, content, associated, random });
      assert.equal(box.length, content.length + BOX_OVERHEAD_BYTES);
      assert.deepEqual(openBox(privateKey, box, associated), content);
    }),
  );
});

test('the same content is never sealed to the same bytes', () => {
  const seal = (): string =>
    sealBox({ publicKey, content: Buffer.alloc(9), associated: Buffer.alloc(0), random }).toString(
      'hex',
    );
  assert.notEqual(seal(), seal());
});

test('any flipped bit, other key, other purpose or shorter box does not open', () => {
  const associated = Buffer.from('purpose');
  const box = sealBox({ publicKey, content: Buffer.from('key'), associated, random });
  for (let at = 0; at < box.length; at++) {
    const changed = Buffer.from(box);
    // Of the ephemeral key, X25519 ignores the highest bit, which the key's derivation does not.
    changed[at]! ^= 0x80;
    assert.throws(() => openBox(privateKey, changed, associated), isDamaged);
    assert.throws(() => openBox(privateKey, box.subarray(0, at), associated), isDamaged);
  }
  const other = generateKeyPair(random);
  assert.throws(() => openBox(other.privateKey, box, associated), isDamaged);
  assert.throws(() => openBox(privateKey, box, Buffer.from('other')), isDamaged);
});

test('a public key is that of RFC 7748, section 6.1', () => {
  const alice = '77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a';
  const expected = '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a';
  assert.equal(publicKeyOf(Buffer.from(alice, 'hex')).toString('hex'), expected);
});
