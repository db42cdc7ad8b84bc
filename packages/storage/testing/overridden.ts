/** A store of which some calls are replaced. */
import type { ObjectStore } from '../object-store.ts';

export function overridden(store: ObjectStore, replaced: Partial<ObjectStore>): ObjectStore {
  return new Proxy(store, {
    get(target, property) {
      if (Object.hasOwn(replaced, property)) return Reflect.get(replaced, property) as unknown;
      const value: unknown = Reflect.get(target, property);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
