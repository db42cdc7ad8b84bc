/** A store that gives nothing up, over one that does: as a service shows to those who back up. */
import { CofferError } from '@coffer/base';
import type { ObjectStore } from '../object-store.ts';

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
  const replaced = { capabilities, delete: refuse, removeLeftovers: refuse };
  return new Proxy(store, {
    get(target, property) {
      if (Object.hasOwn(replaced, property)) return Reflect.get(replaced, property) as unknown;
      const value: unknown = Reflect.get(target, property);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
