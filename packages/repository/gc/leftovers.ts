/**
 * What killed processes leave: temporary files of puts, records of points that are gone and of jobs
 * that nobody tries any more, and probes, by which the doctor and the benchmark look at a store.
 * FORMAT.md, sections 1 and 13.
 */
import type { Random } from '@coffer/base';
import { removeRecordsOfGonePoints } from '../beside-points.ts';
import { dropNotedRemovals } from '../removed-points.ts';
import type { Repository } from '../repository.ts';
import { removeOldJobs } from '../session/job.ts';
import type { AskNow } from './store-clock.ts';

const PROBES = 'probes/';

/** What is as old as this belongs to nobody who still runs. */
const LEFTOVER_AGE_MS = 24 * 60 * 60_000;

/** A new name for an object that is there to be measured, and deleted again. */
export function probeName(random: Random): string {
  return `${PROBES}${random.bytes(16).toString('hex')}`;
}

/** How old they are, the store says, whatever clock this host has. */
export async function removeLeftovers({ store }: Repository, askNow: AskNow): Promise<void> {
  await store.removeLeftovers(LEFTOVER_AGE_MS);
  await removeRecordsOfGonePoints(store);
  await dropNotedRemovals(store);
  await removeOldJobs(store, askNow);
  for await (const { name, createdAt } of store.list(PROBES)) {
    if ((await askNow()) - createdAt > LEFTOVER_AGE_MS) await store.delete(name);
  }
}
