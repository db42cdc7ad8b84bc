/** Finds the volume key: a passphrase opens a key slot when what is in it has the right digest. */
import { CofferError, isCofferError } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import { damaged, unsupported } from './failures.ts';
import { type KeyDigest, type KeySlot, type LuksHeader, SECTOR_BYTES } from './header.ts';
import { deriveKey, workOf } from './key-derivation.ts';
import { createSectorCipher } from './sector-cipher.ts';
import { mergeStripes } from './stripes.ts';

/** For all key slots together: minutes, where each is made to take seconds. */
const WORK_MAX = 200_000_000;

/**
 * Tries the key slots in their order; those that are damaged, or use what is not understood, stop
 * no others. Fails with `volume-locked` when none opens, or with what is wrong with the first when
 * none can be used.
 */
export async function volumeKeyOf(
  disk: Disk,
  { keySlots, digest }: LuksHeader,
  passphrase: Buffer,
): Promise<Buffer> {
  const problems: CofferError[] = [];
  let workLeft = WORK_MAX;
  for (const keySlot of keySlots) {
    try {
      if (keySlot instanceof CofferError) throw keySlot;
      workLeft -= boundedWork(keySlot, digest, workLeft);
      const key = await keyInSlot(disk, keySlot, passphrase);
      if (await isVolumeKey(key, digest)) return key;
    } catch (error) {
      if (!isOfKeySlot(error)) throw error;
      problems.push(error);
    }
  }
  if (problems.length > 0 && problems.length === keySlots.length) throw problems[0]!;
  throw new CofferError('volume-locked', {
    reason: 'the passphrase opens no key slot',
    unusableKeySlotCount: problems.length > 0 ? problems.length : undefined,
  });
}

/** A disk that cannot be read is another matter, and other slots would not help. */
function isOfKeySlot(error: unknown): error is CofferError {
  return (
    isCofferError(error, 'file-system-damaged') || isCofferError(error, 'file-system-unsupported')
  );
}

function boundedWork(
  keySlot: KeySlot,
  { derivation, digest }: KeyDigest,
  workLeft: number,
): number {
  const work = workOf(keySlot.derivation, keySlot.areaKeyBytes) + workOf(derivation, digest.length);
  if (work <= workLeft) return work;
  throw unsupported(`key slot ${keySlot.index} asks for too much work: ${work} iterations`);
}

/** What the slot holds when the passphrase is its own, or else anything. */
async function keyInSlot(disk: Disk, keySlot: KeySlot, passphrase: Buffer): Promise<Buffer> {
  const { area, areaCipher, areaKeyBytes, keyBytes, stripeCount, stripeHash } = keySlot;
  if (area.offset + area.length > disk.sizeBytes) {
    throw damaged('LUKS key material', area.offset, 'beyond the end of the volume');
  }
  const encrypted = Buffer.alloc(area.length);
  await disk.read(area.offset, encrypted);
  const areaKey = await deriveKey(keySlot.derivation, passphrase, areaKeyBytes);
  const stripes = createSectorCipher(areaCipher, areaKey, SECTOR_BYTES).decrypt(encrypted, 0);
  return mergeStripes(stripes, keyBytes, stripeCount, stripeHash);
}

async function isVolumeKey(key: Buffer, { derivation, digest }: KeyDigest): Promise<boolean> {
  return (await deriveKey(derivation, key, digest.length)).equals(digest);
}
