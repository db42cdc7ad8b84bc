/** Keys that are made of passphrases, in threads of the pool. */
import { argon2, pbkdf2 } from 'node:crypto';
import { promisify } from 'node:util';
import { unsupported } from './failures.ts';
import type { Argon2, KeyDerivation } from './header.ts';

/** What cryptsetup allows, too. */
const MEMORY_KIB_MAX = 4 * 1024 * 1024;

const pbkdf2InPool = promisify(pbkdf2);
const argon2InPool = promisify(argon2);

/**
 * How much work a derivation is: iterations of PBKDF2, or KiB that Argon2 fills. Each takes a
 * microsecond, or a few.
 */
export function workOf(derivation: KeyDerivation, keyBytes: number): number {
  if (derivation.kind !== 'pbkdf2') return derivation.passCount * derivation.memoryKib;
  return derivation.iterationCount * Math.ceil(keyBytes / derivation.hash.digestBytes);
}

/** The caller bounds the work. Fails with `file-system-unsupported`. */
export async function deriveKey(
  derivation: KeyDerivation,
  secret: Buffer,
  keyBytes: number,
): Promise<Buffer> {
  if (derivation.kind !== 'pbkdf2') return await deriveByArgon2(derivation, secret, keyBytes);
  const { salt, iterationCount, hash } = derivation;
  return await pbkdf2InPool(secret, salt, iterationCount, keyBytes, hash.name);
}

async function deriveByArgon2(
  { kind, passCount, memoryKib, laneCount, salt }: Argon2,
  secret: Buffer,
  keyBytes: number,
): Promise<Buffer> {
  // RFC 9106, section 3.1: a lane has at least 8 KiB.
  if (memoryKib > MEMORY_KIB_MAX || memoryKib < 8 * laneCount) {
    throw unsupported(`${kind} with ${memoryKib} KiB of memory and ${laneCount} lanes`);
  }
  try {
    return await argon2InPool(kind, {
      message: secret,
      nonce: salt,
      parallelism: laneCount,
      tagLength: keyBytes,
      memory: memoryKib,
      passes: passCount,
    });
  } catch (error) {
    throw unsupported(`${kind} with ${memoryKib} KiB of memory`, error);
  }
}
