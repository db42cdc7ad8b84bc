/** Puts the parts together: the only file that names concrete stores. */
import { CofferError, systemClock, systemRandom } from '@coffer/base';
import { type EngineKeys, Repository, threadedChunkWork } from '@coffer/repository';
import { probeName } from '@coffer/repository/gc/leftovers.ts';
import { parseLocation } from '@coffer/storage/location.ts';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { Rate } from '@coffer/storage/rate-schedule.ts';
import { retrying } from '@coffer/storage/retrying.ts';
import { throttled } from '@coffer/storage/throttled.ts';
import { tryStore } from '@coffer/storage/try-store.ts';
import { passingCacheFolder, usableCacheFolder } from './cache-folder.ts';

/** With back-off this is more than a minute: longer than the restart of a store takes. */
const ATTEMPTS_MAX = 9;

export const clock = systemClock;
export const random = systemRandom;

export interface OpenStoreOptions {
  /** For a new repository: makes the folder, where the store is one, and tries what it can do. */
  readonly create?: boolean;
  /** None: as fast as it goes. */
  readonly rates?: readonly Rate[];
}

export async function openStore(
  location: string,
  { create = false, rates = [] }: OpenStoreOptions = {},
): Promise<ObjectStore> {
  const adapter = await openAdapter(location, create);
  const paced = rates.length > 0 ? throttled(adapter, { rates, clock }) : adapter;
  const store = retrying(paced, {
    attemptsMax: ATTEMPTS_MAX,
    delayMs: 250,
    clock,
    random,
  });
  if (create) await tryOrClose(store);
  return store;
}

async function tryOrClose(store: ObjectStore): Promise<void> {
  try {
    await tryStore(store, probeName(random));
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function openAdapter(location: string, create: boolean): Promise<ObjectStore> {
  const parsed = parseLocation(location);
  switch (parsed.kind) {
    case 'filesystem': {
      const { openFilesystemStore } = await import('@coffer/storage/filesystem.ts');
      return await openFilesystemStore(parsed.path, { create });
    }
    case 's3': {
      const { openS3Store } = await import('@coffer/storage/s3.ts');
      return await openS3Store(parsed);
    }
    case 'azure-blob': {
      const { openAzureBlobStore } = await import('@coffer/storage/azure-blob.ts');
      return await openAzureBlobStore(parsed);
    }
  }
}

export async function openRepositoryAt(
  location: string,
  options: OpenStoreOptions = {},
): Promise<Repository> {
  const store = await openStore(location, options);
  try {
    return await openWithCache(store);
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** The cache makes things fast; one that cannot be used is no reason to fail. */
async function openWithCache(store: ObjectStore): Promise<Repository> {
  const usable = usableCacheFolder();
  if (usable !== undefined) {
    try {
      return await openIn(store, usable);
    } catch (error) {
      if (error instanceof CofferError) throw error;
    }
  }
  return await openIn(store, passingCacheFolder());
}

async function openIn(store: ObjectStore, cacheFolder: string): Promise<Repository> {
  return await Repository.open({
    store,
    index: { cacheFolder },
    clock,
    random,
    chunkWork: (keys: EngineKeys) => threadedChunkWork(keys),
  });
}
