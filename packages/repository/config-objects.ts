/**
 * The two objects that hold the config: `config`, which decides whether a repository exists, and its
 * copy, so that no single flipped bit closes the repository. FORMAT.md, section 3.
 *
 * Invariants: the copy is written before `config`, and replaced only by who wrote `config` or found
 * it intact. A store that holds the work of a repository never gets another config.
 */
import { CofferError, isCofferError } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { decodeConfig, encodeConfig, type RepositoryConfig } from './config.ts';
import { getRecordIfThere, putIfAbsent } from './store-calls.ts';

const CONFIG_NAME = 'config';
export const CONFIG_COPY_NAME = 'config-copy';

/** Where objects lie that only a repository in use has. */
const WORK_PREFIXES = ['gc/', 'index/', 'packs/', 'points/', 'sessions/'] as const;

/** Fails with `repository-exists` when there is a repository, though its config may be lost. */
export async function refuseExisting(store: ObjectStore): Promise<void> {
  const exists = (await store.stat(CONFIG_NAME)) !== undefined || (await holdsWork(store));
  if (exists) throw new CofferError('repository-exists', { location: store.location });
}

/** Writes the config and its copy; fails with `repository-exists` when there is one. */
export async function writeConfig(store: ObjectStore, config: RepositoryConfig): Promise<void> {
  const bytes = encodeConfig(config);
  const isCopyOurs = await create(store, CONFIG_COPY_NAME, bytes);
  if (!(await create(store, CONFIG_NAME, bytes))) {
    throw new CofferError('repository-exists', { location: store.location });
  }
  // The copy of another init, that was killed or came too late: there is a config now, and it is ours.
  // Where nobody deletes, a verification finds it, and a repair at the other end of the store replaces it.
  if (!isCopyOurs && store.capabilities.deletes) await replace(store, CONFIG_COPY_NAME, bytes);
}

/**
 * Reads the config, or its copy when it is damaged or lost. Fails with `repository-not-found`,
 * `repository-version`, or `object-damaged` when both are.
 */
export async function readConfig(store: ObjectStore): Promise<RepositoryConfig> {
  const found = await inspect(store, CONFIG_NAME);
  if (found.state === 'intact') return decodeConfig(found.bytes, CONFIG_NAME);
  // Without work in the store, an init was killed before there was a repository, or none was made.
  if (found.state === 'missing' && !(await holdsWork(store))) {
    throw new CofferError('repository-not-found', { location: store.location }, found.damage);
  }
  const copy = await inspect(store, CONFIG_COPY_NAME);
  if (copy.state === 'intact') return decodeConfig(copy.bytes, CONFIG_COPY_NAME);
  throw found.damage;
}

/** What is wrong with the config and its copy; each error names its object. */
export async function configDamages(store: ObjectStore): Promise<CofferError[]> {
  const objects = await inspectBoth(store);
  return objects.flatMap((object) => (object.state === 'intact' ? [] : object.damage));
}

/**
 * Writes the damaged one of the two anew from the other one; returns what was repaired. When it is
 * killed in between, the other one is still there. Of two that are intact and differ, the copy may
 * be the true one, so it is replaced only when the keys have shown that the config is.
 */
export async function repairConfig(
  store: ObjectStore,
  { isConfigTrue }: { readonly isConfigTrue: boolean },
): Promise<CofferError[]> {
  const objects = await inspectBoth(store);
  const intact = objects.find((object) => object.state === 'intact');
  const repaired: CofferError[] = [];
  for (const object of objects) {
    if (!intact || object.state === 'intact') continue;
    if (object.state === 'different' && !isConfigTrue) continue;
    await replace(store, object.name, intact.bytes);
    repaired.push(object.damage);
  }
  return repaired;
}

/** One of the two objects, and whether it holds a config. */
type ConfigObject =
  | { readonly state: 'intact'; readonly name: string; readonly bytes: Buffer }
  | {
      readonly state: 'damaged' | 'missing' | 'different';
      readonly name: string;
      readonly damage: CofferError;
    };

async function inspectBoth(store: ObjectStore): Promise<readonly ConfigObject[]> {
  const config = await inspect(store, CONFIG_NAME);
  const copy = await inspect(store, CONFIG_COPY_NAME);
  const areBoth = config.state === 'intact' && copy.state === 'intact';
  if (!areBoth || config.bytes.equals(copy.bytes)) return [config, copy];
  const damage = damageOf(CONFIG_COPY_NAME, 'it is not a copy of the config');
  return [config, { state: 'different', name: CONFIG_COPY_NAME, damage }];
}

async function inspect(store: ObjectStore, name: string): Promise<ConfigObject> {
  try {
    const bytes = await getRecordIfThere(store, name);
    if (!bytes) return { state: 'missing', name, damage: damageOf(name, 'it is missing') };
    decodeConfig(bytes, name);
    return { state: 'intact', name, bytes };
  } catch (error) {
    if (!isCofferError(error, 'object-damaged')) throw error;
    return { state: 'damaged', name, damage: error };
  }
}

function damageOf(object: string, reason: string): CofferError {
  return new CofferError('object-damaged', { object, reason });
}

async function holdsWork(store: ObjectStore): Promise<boolean> {
  for (const prefix of WORK_PREFIXES) {
    for await (const _ of store.list(prefix)) return true;
  }
  return false;
}

/** False when there is an object of that name. */
async function create(store: ObjectStore, name: string, bytes: Buffer): Promise<boolean> {
  try {
    await store.put(name, bytes);
    return true;
  } catch (error) {
    if (isCofferError(error, 'object-exists')) return false;
    throw error;
  }
}

async function replace(store: ObjectStore, name: string, bytes: Buffer): Promise<void> {
  await store.delete(name);
  // Another one may repair at the same time, with the same bytes.
  await putIfAbsent(store, name, bytes);
}
