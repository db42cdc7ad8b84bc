/** The point that the next backup of a virtual machine can be based on. */
import {
  isFromFuture,
  type RecoveryPoint,
  type UnlockedRepository,
  type Session,
} from '@coffer/repository';
import { RecordReader } from '@coffer/repository/chunk/record-reader.ts';
import { chunksOnlyIn } from '@coffer/repository/tree/difference.ts';
import type { CaptureBase } from '@coffer/workloads/vm-capture.ts';
import { parseManifest, type VmManifest } from '../manifest.ts';

const UUID_SHOWN = 8;

/** A point that a capture can be based on, and what it says of the machine. */
export interface VmBase {
  readonly point: RecoveryPoint;
  readonly capture: CaptureBase;
  /** What of its disks it has left out. */
  readonly swap: NonNullable<VmManifest['swap']>;
}

export interface VmBaseSearch {
  readonly session: Session;
  readonly uuid: string;
}

/**
 * The newest point of a machine, under whatever name it was protected. It has to be looked for after
 * the session began: then nothing that it reaches is collected while the session runs, unless a sweep
 * is ahead; then, and when an index object may be lost, it is a base only when all that it reaches is
 * found, and stays.
 */
export async function findVmBase(
  repository: UnlockedRepository,
  { session, uuid }: VmBaseSearch,
): Promise<VmBase | undefined> {
  const ofMachine = (await newestOfItems(repository)).filter(({ vm }) => vm.uuid === uuid);
  const newest = ofMachine.toSorted((a, b) => b.point.takenAt - a.point.takenAt)[0];
  if (newest?.vm.checkpoint === undefined) return undefined;
  const { point, vm } = newest;
  if (await repository.isMarkedDamaged(point)) return undefined;
  const listedAt = await repository.listedAt(point);
  const isSure =
    session.isPointWhole && listedAt !== undefined && !session.mayLackIndexOf(listedAt);
  if (!isSure && !(await isWholeStored(repository, session, point))) return undefined;
  session.relyOnAll();
  const { name: checkpoint, xml: checkpointXml } = newest.vm.checkpoint;
  const disks = vm.disks.flatMap(({ name, identities }) => {
    const root = point.roots.find((each) => each.name === name);
    return root ? [[name, { sizeBytes: root.sizeBytes, identities }] as const] : [];
  });
  const { takenAt } = point;
  const capture = { checkpoint, checkpointXml, takenAt, disks: new Map(disks) };
  return { point, capture, swap: vm.swap ?? [] };
}

/** A name for what was not protected before; another machine may have had the name. */
export async function itemOfVm(
  repository: UnlockedRepository,
  { name, uuid }: { readonly name: string; readonly uuid: string },
): Promise<string> {
  const item = `vm:${name}`;
  const taken = (await newestOfItems(repository)).find(({ point }) => point.item === item);
  const isOther = taken !== undefined && taken.vm.uuid !== uuid;
  return isOther ? `${item}-${uuid.slice(0, UUID_SHOWN)}` : item;
}

async function newestOfItems(
  repository: UnlockedRepository,
): Promise<{ point: RecoveryPoint; vm: VmManifest }[]> {
  // A damaged point is no base, and no reason not to make a new one.
  const points = await repository.points({ onDamaged: () => {} });
  // Oldest first: the last one of an item stays. One from the future says nothing of its order.
  const now = repository.run.clock.now();
  const ofMachines = points.filter((point) => point.kind === 'vm' && !isFromFuture(point, now));
  const newest = new Map(ofMachines.map((point) => [point.item, point]));
  return [...newest.values()].flatMap((point) => {
    const { vm } = parseManifest(repository.openManifest(point));
    return vm ? [{ point, vm }] : [];
  });
}

async function isWholeStored(
  { store, index, run: { signal } }: UnlockedRepository,
  { writer }: Session,
  { roots }: RecoveryPoint,
): Promise<boolean> {
  const records = new RecordReader({ store, index, signal });
  const ids = roots.map(({ root }) => Buffer.from(root, 'hex'));
  for await (const { id } of chunksOnlyIn(ids, [], { index, records, signal })) {
    if (!writer.isStored(id)) return false;
  }
  return true;
}
