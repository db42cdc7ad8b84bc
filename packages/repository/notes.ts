/**
 * Notes of a point: what the writer of the next one has to know of it, though it cannot open the
 * manifest. They are sealed under a key that follows from the hash key, so every writer of the key
 * domain reads them, on whatever host, and nobody else. FORMAT.md, section 12.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { CofferError, deriveKey, type Random } from '@coffer/base';

const NONCE_SIZE_BYTES = 12;
const TAG_SIZE_BYTES = 16;

interface NotesKey {
  readonly hashKey: Buffer;
  /** Is not stored, and has to be the same when they are opened. */
  readonly associated: Buffer;
}

export function sealNotes(
  notes: unknown,
  { hashKey, associated, random }: NotesKey & { readonly random: Random },
): Buffer {
  const nonce = random.bytes(NONCE_SIZE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', keyOf(hashKey), nonce);
  cipher.setAAD(associated);
  const content = Buffer.from(JSON.stringify(notes), 'utf8');
  return Buffer.concat([nonce, cipher.update(content), cipher.final(), cipher.getAuthTag()]);
}

/** Fails with `object-damaged` when they were not sealed by a writer of the key domain. */
export function openNotes(sealed: Buffer, { hashKey, associated }: NotesKey): unknown {
  try {
    const nonce = sealed.subarray(0, NONCE_SIZE_BYTES);
    const decipher = createDecipheriv('aes-256-gcm', keyOf(hashKey), nonce, {
      authTagLength: TAG_SIZE_BYTES,
    });
    decipher.setAAD(associated);
    decipher.setAuthTag(sealed.subarray(-TAG_SIZE_BYTES));
    const content = decipher.update(sealed.subarray(NONCE_SIZE_BYTES, -TAG_SIZE_BYTES));
    return JSON.parse(Buffer.concat([content, decipher.final()]).toString('utf8')) as unknown;
  } catch (error) {
    throw new CofferError('object-damaged', { what: 'notes of a point' }, error);
  }
}

function keyOf(hashKey: Buffer): Buffer {
  return deriveKey('coffer 1 point notes', hashKey);
}
