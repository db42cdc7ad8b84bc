/** What a backup of a machine notes for the next one, which need not be able to open its manifest. */
import { CofferError, isCofferError } from '@coffer/base';
import type { RecoveryPoint, WriterRepository } from '@coffer/repository';
import * as v from 'valibot';

const VmNotes = v.object({
  uuid: v.string(),
  /** One more than of every point of the machine that was there: the highest is the newest. */
  sequence: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  /** Of libvirt: what a later backup can be based on. */
  checkpoint: v.optional(v.object({ name: v.string(), xml: v.string() })),
  disks: v.array(v.object({ name: v.string(), identities: v.array(v.string()) })),
  /** Swap that was not read. */
  swap: v.array(
    v.object({
      disk: v.string(),
      area: v.string(),
      ranges: v.array(v.object({ offset: v.number(), length: v.number() })),
    }),
  ),
});

export type VmNotes = v.InferOutput<typeof VmNotes>;

export interface NotedPoint {
  readonly point: RecoveryPoint;
  readonly notes: VmNotes;
}

/** Of the points that have notes of a machine. Those that cannot be opened are passed over. */
export function notedPoints(
  repository: WriterRepository,
  points: readonly RecoveryPoint[],
): NotedPoint[] {
  return points.flatMap((point) => {
    const notes = point.kind === 'vm' ? notesOf(repository, point) : undefined;
    return notes ? [{ point, notes }] : [];
  });
}

function notesOf(repository: WriterRepository, point: RecoveryPoint): VmNotes | undefined {
  try {
    const opened = repository.openNotes(point);
    return opened === undefined ? undefined : parseNotes(opened);
  } catch (error) {
    // It is no base, and no reason not to make a new point.
    if (isCofferError(error, 'object-damaged')) return undefined;
    throw error;
  }
}

function parseNotes(opened: unknown): VmNotes {
  const result = v.safeParse(VmNotes, opened);
  if (result.success) return result.output;
  const reason = result.issues[0].message;
  throw new CofferError('object-damaged', { what: 'notes of a point', reason });
}
