/**
 * What a collection deletes, its sweep has decided. It may stand still at any time, for as long as
 * others need for collections of their own, or until somebody sets the store back to a state in which
 * points reach what it is about to delete. So it looks again and again whether its sweep still counts.
 */
import { CofferError } from '@coffer/base';
import type { Repository } from '../repository.ts';
import { readGcState, type SweepRecord } from '../generations/gc-record.ts';

/** Fails with `gc-superseded` when another sweep counts, with `store-rolled-back` when none does. */
export async function requireDecided(
  { store, index }: Repository,
  { generation, collection }: SweepRecord,
): Promise<void> {
  const { sweep } = await readGcState(store, index.sweeps);
  if (sweep?.collection === collection) return;
  // While no later sweep is decided, the newest one stays.
  const isOvertaken = sweep !== undefined && sweep.generation >= generation;
  throw new CofferError(isOvertaken ? 'gc-superseded' : 'store-rolled-back', { generation });
}
