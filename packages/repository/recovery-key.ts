/**
 * The recovery key: 160 random bits, printed in groups that people can type. Letters are those of
 * Crockford's base 32, which has no I, L, O and U; a check of 20 bits catches typing errors.
 */
import { CofferError, digest, type Random } from '@coffer/base';

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const SECRET_SIZE_BYTES = 20;
const CHECK_LETTERS = 4;
const GROUP_LETTERS = 6;

export function generateRecoveryKey(random: Random): string {
  const letters = encode(random.bytes(SECRET_SIZE_BYTES));
  const all = letters + check(letters);
  return all.match(new RegExp(`.{1,${GROUP_LETTERS}}`, 'g'))!.join('-');
}

/** True for text that has the form of a recovery key and a right check. */
export function isRecoveryKey(text: string): boolean {
  const letters = normalize(text);
  const body = letters.slice(0, -CHECK_LETTERS);
  return (
    body.length === (SECRET_SIZE_BYTES * 8) / 5 && letters.slice(-CHECK_LETTERS) === check(body)
  );
}

/** The secret of a recovery key. Fails with `passphrase-wrong` when the key was mistyped. */
export function recoverySecret(text: string): Buffer {
  if (!isRecoveryKey(text)) {
    throw new CofferError('passphrase-wrong', { reason: 'the recovery key is mistyped' });
  }
  return Buffer.from(normalize(text).slice(0, -CHECK_LETTERS), 'latin1');
}

function normalize(text: string): string {
  return text.toUpperCase().replace(/[\s-]/g, '').replace(/O/g, '0').replace(/[IL]/g, '1');
}

function check(letters: string): string {
  return encode(digest(Buffer.from(letters, 'latin1')).subarray(0, 5)).slice(0, CHECK_LETTERS);
}

function encode(bytes: Buffer): string {
  let text = '';
  let bits = 0;
  let value = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += ALPHABET[(value >>> bits) & 31];
    }
    value &= (1 << bits) - 1;
  }
  return text;
}
