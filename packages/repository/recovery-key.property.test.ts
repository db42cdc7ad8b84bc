import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import fc from 'fast-check';
import { generateRecoveryKey, isRecoveryKey, recoverySecret } from './recovery-key.ts';

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const keys = fc.nat().map((seed) => generateRecoveryKey(seededRandom(seed)));

test('a recovery key is six groups of six letters that are not mistaken for each other', () => {
  fc.assert(
    fc.property(keys, (key) => {
      assert.match(key, /^[0-9A-HJKMNP-TV-Z]{6}(-[0-9A-HJKMNP-TV-Z]{6}){5}$/);
      assert.ok(isRecoveryKey(key));
      assert.equal(recoverySecret(key).length, 32);
    }),
  );
});

test('how it is typed does not matter', () => {
  fc.assert(
    fc.property(keys, (key) => {
      const typed = key
        .toLowerCase()
        .replaceAll('-', ' ')
        .replaceAll('1', 'l')
        .replaceAll('0', 'o');
      assert.ok(isRecoveryKey(typed));
      assert.deepEqual(recoverySecret(` ${typed}\n`), recoverySecret(key));
    }),
  );
});

test('one wrong letter is noticed', () => {
  let unnoticed = 0;
  const key = generateRecoveryKey(seededRandom(1));
  for (let at = 0; at < key.length; at++) {
    for (const letter of ALPHABET) {
      if (key[at] === '-' || key[at] === letter) continue;
      const wrong = key.slice(0, at) + letter + key.slice(at + 1);
      if (isRecoveryKey(wrong)) unnoticed++;
      else assert.throws(() => recoverySecret(wrong), isWrong);
    }
  }
  // A check of 20 bits lets one of a million through.
  assert.equal(unnoticed, 0);
});

function isWrong(error: unknown): boolean {
  return isCofferError(error, 'passphrase-wrong');
}

test('passphrases are not taken for recovery keys', () => {
  fc.assert(fc.property(fc.string(), (text) => assert.ok(!isRecoveryKey(text))));
});
