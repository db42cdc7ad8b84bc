/**
 * Keys that come and go, in the order in which none is lost: a recovery key is kept before anything
 * opens with it, opens before earlier ones go, and proves that it does by removing them.
 */
import { isCofferError } from '@coffer/base';
import { refuseAppendOnly } from '@coffer/storage/object-store.ts';
import type { RepositoryConfig } from './config.ts';
import { type InitOptions, initRepository } from './init.ts';
import {
  addKeySlot,
  type KeySlot,
  newKeySlot,
  type NewSlot,
  readKeySlots,
  removeKeySlot,
} from './keys.ts';
import { generateRecoveryKey } from './recovery-key.ts';
import type { UnlockedRepository } from './repository.ts';

/** Who keeps a new recovery key. */
export interface RecoveryKeyKeeper {
  /** It is durable when this returns. */
  readonly keep: (recoveryKey: string) => void;
  /** It opens nothing after all: such a key is not left behind. */
  readonly forget: () => void;
}

export interface KeyRotation extends RecoveryKeyKeeper {
  /** It opens the repository, and may be the only key that is left when all ends here. */
  readonly opens: (rotated: RotatedKey) => void;
}

export interface RotatedKey {
  readonly recoveryKey: string;
  readonly slot: KeySlot;
  /** Slots of earlier recovery keys, which go. */
  readonly earlier: readonly string[];
}

/**
 * Makes a new repository, and its recovery key. Fails with `repository-exists`; after other failures
 * the repository may exist, and what is kept of its key stays.
 */
export async function initWithRecoveryKey(
  options: Omit<InitOptions, 'recoveryKey'>,
  { keep, forget }: RecoveryKeyKeeper,
): Promise<{ readonly config: RepositoryConfig; readonly recoveryKey: string }> {
  const recoveryKey = generateRecoveryKey(options.random);
  // Before the repository exists, which nothing else can open when the passphrase is lost.
  keep(recoveryKey);
  try {
    return { config: await initRepository({ ...options, recoveryKey }), recoveryKey };
  } catch (error) {
    if (isCofferError(error, 'repository-exists')) forget();
    throw error;
  }
}

/** Puts a new recovery key in the place of all earlier ones. Damaged slots open nothing, and stay. */
export async function rotateRecoveryKey(
  repository: UnlockedRepository,
  { keep, forget, opens }: KeyRotation,
): Promise<RotatedKey> {
  refuseAppendOnly(repository.store);
  const slots = await readKeySlots(repository, () => {});
  const earlier = slots.filter(({ kind }) => kind === 'recovery').map(({ slot }) => slot);
  const recoveryKey = generateRecoveryKey(repository.run.random);
  const made = await newSlot(repository, {
    kind: 'recovery',
    secret: recoveryKey,
    label: 'printed',
  });
  keep(recoveryKey);
  try {
    await addKeySlot(repository.store, made);
  } catch (error) {
    forget();
    throw error;
  }
  const rotated = { recoveryKey, slot: made, earlier };
  opens(rotated);
  for (const slot of earlier) await removeKeySlot(repository, slot, recoveryKey);
  return rotated;
}

/** Fails with `passphrase-weak` and `key-slot-exists`. */
export async function addPassphrase(
  repository: UnlockedRepository,
  { passphrase, label }: { readonly passphrase: string; readonly label: string },
): Promise<KeySlot> {
  const slot = await newSlot(repository, { kind: 'passphrase', secret: passphrase, label });
  await addKeySlot(repository.store, slot);
  return slot;
}

async function newSlot(
  { allKeys: keys, run }: UnlockedRepository,
  what: Pick<NewSlot, 'kind' | 'secret' | 'label'>,
): Promise<KeySlot> {
  return await newKeySlot({ ...what, keys, createdAt: run.clock.now() });
}
