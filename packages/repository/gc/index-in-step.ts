/** A collection works on an index that knows all that the store says, and that stays as it was. */
import { CofferError } from '@coffer/base';
import type { Repository } from '../repository.ts';

/** What an index object that cannot be read names would be taken for garbage. */
export async function synchronizeOrRefuse({
  index,
  store,
}: Repository): Promise<ReadonlySet<string>> {
  const { damaged, objects } = await index.synchronize(store);
  const [first] = damaged;
  if (first) throw new CofferError('repository-damaged', { reason: first.message }, first);
  return objects;
}

/** Nothing was condemned; what another process did to the index is to be seen first. */
export function changedMeanwhile(): CofferError {
  return new CofferError('gc-superseded', { reason: 'the index was changed meanwhile' });
}
