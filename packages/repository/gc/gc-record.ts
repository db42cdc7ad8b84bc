/**
 * The records of garbage collections. Each has a generation; its objects are, in the order they are
 * written: `condemned` (packs that new sessions treat as absent), `sweep` (packs that are deleted
 * for good, and the points that survive from before), `done`. FORMAT.md, section 14; PROTOCOL.md.
 */
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import * as v from 'valibot';
import { count, decodeRecord, encodeRecord, hexOf } from '../record.ts';
import { POINT_ID_SIZE_BYTES } from '../recovery-point.ts';

const Condemned = v.object({ generation: count, startedAt: count, packs: v.array(hexOf(32)) });

const Sweep = v.object({
  generation: count,
  packs: v.array(hexOf(32)),
  survivors: v.array(hexOf(POINT_ID_SIZE_BYTES)),
});

const Done = v.object({ generation: count });

export type CondemnedRecord = v.InferOutput<typeof Condemned>;
export type SweepRecord = v.InferOutput<typeof Sweep>;

export type GcStep = 'condemned' | 'sweep' | 'done';

/** What the garbage collections so far mean for everyone else. */
export interface GcState {
  /** Of the newest collection; 0 before the first. */
  readonly generation: number;
  /** The newest collection, while it is not done. */
  readonly unfinished: CondemnedRecord | undefined;
  /** The newest sweep: what it does not name among the survivors does not exist any more. */
  readonly sweep: SweepRecord | undefined;
}

/** How many collections' records are there; those of done collections but the newest are removed. */
export interface GcObject {
  readonly name: string;
  readonly generation: number;
  readonly step: GcStep;
}

export function gcObjectName(generation: number, step: GcStep): string {
  return `gc/${String(generation).padStart(8, '0')}-${step}`;
}

export async function writeGcRecord(
  store: ObjectStore,
  step: GcStep,
  record: CondemnedRecord | SweepRecord | v.InferOutput<typeof Done>,
): Promise<void> {
  await store.put(gcObjectName(record.generation, step), encodeRecord('gc', record));
}

export async function listGcObjects(store: ObjectStore): Promise<GcObject[]> {
  const objects: GcObject[] = [];
  for await (const { name } of store.list('gc/')) {
    const match = /^gc\/(\d{8,})-(condemned|sweep|done)$/.exec(name);
    if (match) objects.push({ name, generation: Number(match[1]), step: match[2] as GcStep });
  }
  return objects;
}

export async function readGcState(store: ObjectStore): Promise<GcState> {
  const objects = await listGcObjects(store);
  const newest = (step: GcStep): GcObject | undefined =>
    objects
      .filter((object) => object.step === step)
      .reduce<GcObject | undefined>(
        (a, b) => (a && a.generation > b.generation ? a : b),
        undefined,
      );
  const condemned = newest('condemned');
  const sweep = newest('sweep');
  const done = newest('done');
  const generation = Math.max(condemned?.generation ?? 0, done?.generation ?? 0);
  const isFinished = done?.generation === generation;
  return {
    generation,
    unfinished:
      condemned && !isFinished
        ? decodeRecord('gc', Condemned, await store.get(condemned.name), condemned.name)
        : undefined,
    sweep: sweep && decodeRecord('gc', Sweep, await store.get(sweep.name), sweep.name),
  };
}

/** Whether a point of that generation exists, as far as the newest sweep is concerned. */
export function survives(point: { generation: number; id: string }, state: GcState): boolean {
  const { sweep } = state;
  if (!sweep || point.generation >= sweep.generation) return true;
  return sweep.survivors.includes(point.id);
}
