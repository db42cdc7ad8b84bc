/** Puts the parts together: the only file that opens stores, and says who is let in by them. */
import { realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { parting, type RunContext, systemClock, systemProcesses, systemRandom } from '@coffer/base';
import { probeName, Repository, startChunkThreads } from '@coffer/repository';
import { accessOfEnvironment } from '@coffer/storage/access.ts';
import { formatLocation, parseLocation } from '@coffer/storage/location.ts';
import { interruptible } from '@coffer/storage/interruptible.ts';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { openStore } from '@coffer/storage/open.ts';
import type { Rate } from '@coffer/storage/rate-schedule.ts';
import { tellPassing, usableCacheFolder } from './cache-folder.ts';
import { interruptSignal, noteWhatIsBusy } from './run.ts';

export const clock = systemClock;
export const random = systemRandom;
/** The run of the command: Ctrl-C ends it. */
export const commandRun: RunContext = {
  clock,
  random,
  signal: interruptSignal,
  tell: noteWhatIsBusy,
  temporaryFolder: tmpdir(),
};
/** Threads start with the first work, also after `close`, for which they have to be idle. */
export const chunkPool = startChunkThreads();

export interface OpenStoreOptions {
  /** For a new repository: makes the folder, where the store is one, and tries what it can do. */
  readonly create?: boolean;
  /** None: as fast as it goes. */
  readonly rates?: readonly Rate[];
}

async function openStoreAt(
  location: string,
  { create = false, rates = [] }: OpenStoreOptions = {},
): Promise<ObjectStore> {
  return await openStore(parseLocation(location), {
    access: accessOfEnvironment(process.env),
    ...(create && { create: { name: probeName(random), signal: interruptSignal } }),
    rates,
    clock,
    random,
  });
}

/** Without a repository, for a moment: calls end with the command. */
export async function withStore<T>(
  location: string,
  options: OpenStoreOptions,
  /** `last` has a moment when the command was ended. */
  use: (store: ObjectStore, last: () => ObjectStore) => Promise<T>,
): Promise<T> {
  const store = await openStoreAt(location, options);
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
  const store = await openStoreAt(location, options);
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
