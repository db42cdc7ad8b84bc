/** A store that gives nothing up, over one that does: as a service shows to those who back up. */
import { CofferError } from '@coffer/base';
import type { ObjectStore } from '../object-store.ts';
import { overridden } from './overridden.ts';

export interface AppendOnlyOptions {
  readonly finishesSessions?: boolean;
}

export function appendOnly(
  store: ObjectStore,
  { finishesSessions = false }: AppendOnlyOptions = {},
): ObjectStore {
  const refuse = async (): Promise<never> => {
    throw new CofferError('store-append-only', { location: store.location });
  };
  const capabilities = { ...store.capabilities, deletes: false, finishesSessions };
  return overridden(store, { capabilities, delete: refuse, removeLeftovers: refuse });
}
