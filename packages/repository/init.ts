/** Makes new repositories: key slots first, the config last. */
import { type Clock, isCofferError, type Random } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { Padding } from './chunk/padding.ts';
import { newConfig, type RepositoryConfig } from './config.ts';
import { readConfig, refuseExisting, writeConfig } from './config-objects.ts';
import {
  type KeySlot,
  newKeySlot,
  readKeySlots,
  removeSlotsOfOthers,
  type RepositoryKeys,
  writeKeySlot,
} from './keys.ts';
import type { Repository } from './repository.ts';
import { generateKeyPair } from './sealed-box.ts';

export interface InitOptions {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly passphrase: string;
  readonly recoveryKey: string;
  /** Of the key domain that begins with it; `classes` when it is not said. */
  readonly padding?: Padding | undefined;
}

/** Makes a new repository with two key slots. Fails with `repository-exists`. */
export async function initRepository(options: InitOptions): Promise<RepositoryConfig> {
  const { store, clock, random, passphrase, recoveryKey, padding } = options;
  const keys: RepositoryKeys = { ...generateKeyPair(random), hashKey: random.bytes(32) };
  const createdAt = clock.now();
  const slot = { keys, createdAt };
  const slots = [
    await newKeySlot({ ...slot, kind: 'passphrase', secret: passphrase, label: 'first' }),
    await newKeySlot({ ...slot, kind: 'recovery', secret: recoveryKey, label: 'printed' }),
  ];
  return await writeNew(store, newConfig({ ...keys, createdAt, random, padding }), slots);
}

/**
 * Makes a new repository with the keys of another one: the same passphrases open it, and sealed
 * chunks can be moved between the two by someone who holds no key.
 */
export async function initWithKeysFrom(
  source: Repository,
  { store, clock, random }: Pick<InitOptions, 'store' | 'clock' | 'random'>,
): Promise<RepositoryConfig> {
  const repositoryId = random.bytes(16).toString('hex');
  const config = { ...source.config, repositoryId, createdAt: clock.now() };
  return await writeNew(store, config, await readKeySlots(source));
}

/**
 * The slots go first and the config last: it decides who of two that init at once wins, and as soon
 * as it is there, the repository opens. What is left of an init that was killed before, or has lost,
 * is nothing to anybody.
 */
async function writeNew(
  store: ObjectStore,
  config: RepositoryConfig,
  slots: readonly KeySlot[],
): Promise<RepositoryConfig> {
  await refuseExisting(store);
  for (const slot of slots) await writeKeySlot(store, slot);
  try {
    await writeConfig(store, config);
  } catch (error) {
    if (!isCofferError(error, 'repository-exists')) throw error;
    await removeSlotsOfOthers({ store, config: await readConfig(store) });
    throw error;
  }
  await removeSlotsOfOthers({ store, config });
  return config;
}
