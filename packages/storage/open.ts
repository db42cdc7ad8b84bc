/** Opens a store as every process wants it: by its location, with retries, and under a rate. */
import { type Clock, CofferError, type Random } from '@coffer/base';
import type { StoreAccess } from './access.ts';
import { createOnly } from './create-only.ts';
import { interruptible } from './interruptible.ts';
import type { Location } from './location.ts';
import type { ObjectStore } from './object-store.ts';
import type { Rate } from './rate-schedule.ts';
import { retrying } from './retrying.ts';
import { throttled } from './throttled.ts';
import { tryStore } from './try-store.ts';

/** With back-off this is more than a minute: longer than the restart of a store takes. */
const ATTEMPTS_MAX = 9;
const DELAY_MS = 250;

export interface OpenStoreOptions {
  readonly access: StoreAccess;
  /** For a new repository: makes the folder, where the store is one, and tries what it can do. */
  readonly create?: Trial;
  /** None: as fast as it goes. */
  readonly rates?: readonly Rate[];
  readonly clock: Clock;
  readonly random: Random;
}

export interface Trial {
  /** Of the object that is put and deleted. */
  readonly name: string;
  readonly signal: AbortSignal;
}

/**
 * Fails with `store-credentials-missing`; for a folder, as `openFilesystemStore` does; and for a new
 * repository as `tryStore` does. Else nothing is asked of the server yet.
 */
export async function openStore(
  location: Location,
  options: OpenStoreOptions,
): Promise<ObjectStore> {
  const { create, rates = [], clock, random } = options;
  const adapter = await openAdapter(location, options);
  const paced = rates.length > 0 ? throttled(adapter, { rates, clock }) : adapter;
  const retries = { attemptsMax: ATTEMPTS_MAX, delayMs: DELAY_MS, clock, random };
  const store = retrying(paced, retries);
  if (create) await tryOrClose(store, create);
  return store;
}

/** Adapters are loaded when they are needed: their SDKs take long to load. */
async function openAdapter(
  location: Location,
  { access, create, clock, random }: OpenStoreOptions,
): Promise<ObjectStore> {
  switch (location.kind) {
    case 'filesystem': {
      const { openFilesystemStore } = await import('./filesystem.ts');
      const options = { create: create !== undefined, clock, random };
      return await openFilesystemStore(location.path, options);
    }
    case 's3': {
      if (!access.s3) throw new CofferError('store-credentials-missing', { ...location });
      const { openS3Store } = await import('./s3.ts');
      return createOnly(await openS3Store({ ...location, access: access.s3, clock }));
    }
    case 'azure-blob': {
      if (!access.azureBlob) throw new CofferError('store-credentials-missing', { ...location });
      const { openAzureBlobStore } = await import('./azure-blob.ts');
      const options = { ...location, access: access.azureBlob, clock };
      return createOnly(await openAzureBlobStore(options));
    }
  }
}

async function tryOrClose(store: ObjectStore, { name, signal }: Trial): Promise<void> {
  try {
    await tryStore(interruptible(store, signal), name);
  } catch (error) {
    await store.close();
    throw error;
  }
}
