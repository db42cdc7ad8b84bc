/** The point that the next backup of a virtual machine can be based on. */
import {
  isWholeStored,
  type RecoveryPoint,
  type Session,
  type WriterRepository,
} from '@coffer/repository';
import type { CaptureBase } from '@coffer/workloads/vm-capture.ts';
import { type NotedPoint, notedPoints, type VmNotes } from './vm-notes.ts';

const UUID_SHOWN = 8;

/** A point that a capture can be based on, and what is noted of the machine. */
export interface VmBase {
  readonly point: RecoveryPoint;
  readonly capture: CaptureBase;
  /** What of its disks it has left out. */
  readonly swap: VmNotes['swap'];
}

/** What the repository has of a machine. */
export interface KnownMachine {
  /** The item that it is protected as: that of its newest point, or a name for what was not before. */
  readonly item: string;
  /** Of the point that is made now. */
  readonly sequence: number;
  /** Undefined when there is none, or none that anything can be built on. */
  readonly base: VmBase | undefined;
}

export interface MachineToFind {
  readonly session: Session;
  readonly name: string;
  readonly uuid: string;
}

/**
 * Its newest point is the one of the highest sequence, under whatever item, whatever clocks said. It
 * has to be looked for after the session began: then nothing that it reaches is collected while the
 * session runs, unless a sweep is ahead; then, and when an index object may be lost, it is a base only
 * when all that it reaches is found, and stays.
 */
export async function findMachine(
  repository: WriterRepository,
  { session, name, uuid }: MachineToFind,
): Promise<KnownMachine> {
  const named = `vm:${name}`;
  const ofName = await notedOf(repository, named);
  const isThere = ofName.some(({ notes }) => notes.uuid === uuid);
  // Under another name, it may be anywhere.
  const all = isThere ? ofName : await notedOf(repository, undefined);
  const own = all.filter(({ notes }) => notes.uuid === uuid);
  const newest = newestOf(own);
  // Another machine may have had the name.
  const fresh = ofName.length > 0 ? `${named}-${uuid.slice(0, UUID_SHOWN)}` : named;
  return {
    item: newest?.point.item ?? fresh,
    sequence: (newest?.notes.sequence ?? 0) + 1,
    base: newest && (await usableBase(repository, session, newest)),
  };
}

async function notedOf(
  repository: WriterRepository,
  item: string | undefined,
): Promise<NotedPoint[]> {
  const filter = item === undefined ? undefined : { item };
  // A damaged point is no base, and no reason not to make a new one.
  return notedPoints(repository, await repository.points({ filter, onDamaged: () => {} }));
}

function newestOf(points: readonly NotedPoint[]): NotedPoint | undefined {
  return points.toSorted((a, b) => a.notes.sequence - b.notes.sequence).at(-1);
}

async function usableBase(
  repository: WriterRepository,
  session: Session,
  { point, notes }: NotedPoint,
): Promise<VmBase | undefined> {
  const { checkpoint, disks: noted, swap } = notes;
  if (checkpoint === undefined || (await repository.isMarkedDamaged(point))) return undefined;
  const listedAt = await repository.listedAt(point);
  const isSure =
    session.isPointWhole && listedAt !== undefined && !session.mayLackIndexOf(listedAt);
  if (!isSure && !(await isWholeStored(repository, session, point))) return undefined;
  session.relyOnAll();
  const disks = noted.flatMap(({ name, identities }) => {
    const root = point.roots.find((each) => each.name === name);
    return root ? [[name, { sizeBytes: root.sizeBytes, identities }] as const] : [];
  });
  const capture = {
    checkpoint: checkpoint.name,
    checkpointXml: checkpoint.xml,
    takenAt: point.takenAt,
    disks: new Map(disks),
  };
  return { point, capture, swap };
}
