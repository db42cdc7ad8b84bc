/** A collection works on an index that knows all that the store says, and that stays as it was. */
import { CofferError, findingOf, tellFinding } from '@coffer/base';
import type { Repository } from '../repository.ts';

/** What counts, as the store says. */
export interface InStep {
  /** Names of the index objects that count. */
  readonly objects: ReadonlySet<string>;
  /** Those of them whose packs nobody knows, since they are damaged. */
  readonly unreadable: ReadonlySet<string>;
}

/** Damaged index objects are told. */
export async function synchronize({ index, store, run }: Repository): Promise<InStep> {
  const { damaged, objects, unreadable } = await index.synchronize(store);
  for (const error of damaged)
    tellFinding(run, findingOf(error, { kind: 'object', name: 'index' }));
  return { objects, unreadable };
}

/** Nothing was condemned; what another process did to the index is to be seen first. */
export function changedMeanwhile(): CofferError {
  return new CofferError('gc-superseded', { reason: 'the index was changed meanwhile' });
}
