/** Objects below `gc/` that no collection has made, or that cannot be read: they go, and are told. */
import { tellFinding } from '@coffer/base';
import type { Repository } from '../repository.ts';
import { type GcState, listGcObjects } from '../generations/gc-record.ts';

/** Of a state without an unfinished collection: what is there of later ones follows from nothing. */
export async function dropJunkRecords(
  { store, run }: Repository,
  { generation }: GcState,
): Promise<void> {
  for (const { name, generation: each } of await listGcObjects(store)) {
    if (each <= generation) continue;
    tellFinding(run, {
      code: 'record-dropped',
      subject: { kind: 'object', name },
      details: { reason: 'it follows from no collection' },
    });
    await store.delete(name);
  }
}
