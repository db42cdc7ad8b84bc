/** Puts the parts together: the only file that names concrete stores. */
import { realpathSync } from 'node:fs';
import { parting, type RunContext, systemClock, systemProcesses, systemRandom } from '@coffer/base';
import { Repository, startChunkThreads } from '@coffer/repository';
import { probeName } from '@coffer/repository/gc/leftovers.ts';
import { formatLocation, parseLocation } from '@coffer/storage/location.ts';
import { interruptible } from '@coffer/storage/interruptible.ts';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { Rate } from '@coffer/storage/rate-schedule.ts';
import { retrying } from '@coffer/storage/retrying.ts';
import { throttled } from '@coffer/storage/throttled.ts';
import { tryStore } from '@coffer/storage/try-store.ts';
import { tellPassing, usableCacheFolder } from './cache-folder.ts';
import { interruptSignal, noteWhatIsBusy } from './run.ts';

/** With back-off this is more than a minute: longer than the restart of a store takes. */
const ATTEMPTS_MAX = 9;

export const clock = systemClock;
export const random = systemRandom;
/** The run of the command: Ctrl-C ends it. */
export const commandRun: RunContext = {
  clock,
  random,
  signal: interruptSignal,
  tell: noteWhatIsBusy,
};
/** Threads start with the first work, also after `close`, for which they have to be idle. */
export const chunkPool = startChunkThreads();

export interface OpenStoreOptions {
  /** For a new repository: makes the folder, where the store is one, and tries what it can do. */
  readonly create?: boolean;
  /** None: as fast as it goes. */
  readonly rates?: readonly Rate[];
}

async function openStore(
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
    await tryStore(interruptible(store, interruptSignal), probeName(random));
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

/** Without a repository, for a moment: calls end with the command. */
export async function withStore<T>(
  location: string,
  options: OpenStoreOptions,
  /** `last` has a moment when the command was ended. */
  use: (store: ObjectStore, last: () => ObjectStore) => Promise<T>,
): Promise<T> {
  const store = await openStore(location, options);
  try {
    const last = (): ObjectStore => interruptible(store, parting(commandRun).signal);
    return await use(interruptible(store, interruptSignal), last);
  } finally {
    await store.close();
  }
}

export async function openRepositoryAt(
  location: string,
  options: OpenStoreOptions = {},
): Promise<Repository> {
  const store = await openStore(location, options);
  try {
    return await openWithCache(store, location);
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function openWithCache(store: ObjectStore, location: string): Promise<Repository> {
  const cache = usableCacheFolder();
  return await Repository.open(commandRun, {
    store,
    index: {
      cacheFolder: cache.path,
      place: placeOf(location),
      onPassing: (folder, reason) =>
        tellPassing(folder, cache.path === undefined ? cache.reason : reason),
    },
    processes: systemProcesses,
    chunkPool,
  });
}

/** Tells clones of a repository apart that have one name on different servers, or after a mount. */
function placeOf(location: string): string {
  const parsed = parseLocation(location);
  if (parsed.kind === 'filesystem') return realpathSync(parsed.path);
  const servers = ['AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL', 'AWS_PROFILE'];
  return [formatLocation(parsed), ...servers.map((name) => process.env[name] ?? '')].join('\n');
}
