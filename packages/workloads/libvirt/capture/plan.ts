/**
 * How each disk of a machine is read: only what changed, or whole. Pure. Tracking that cannot be
 * trusted is not used: then the disk is read whole and compared by chunk.
 */
import type { CaptureBase } from '../../vm-capture.ts';
import type { DiskJudgement } from '../domain/protectable.ts';

/** What is known of a disk and of its tracking. */
export interface TrackedDisk {
  readonly sizeBytes: number;
  readonly identities: readonly string[];
  /** Its bitmap of the base is there and intact. */
  readonly isIntact: boolean;
}

export interface TrackingState {
  /** How libvirt knows the checkpoint of the base; it is adopted when another libvirt had made it. */
  readonly checkpoint: 'known' | 'adopted' | 'unknown';
  /** By target. */
  readonly disks: ReadonlyMap<string, TrackedDisk>;
}

export interface PlannedDisk {
  readonly target: string;
  /** From now on its changes are tracked. */
  readonly isTracked: boolean;
  readonly mode: 'incremental' | 'full';
  /** Why it is read whole. */
  readonly reason: string | undefined;
}

/** Disks that are excluded are not in the plan. */
export function planDisks(
  judgements: readonly DiskJudgement[],
  base: CaptureBase | undefined,
  state: TrackingState,
): PlannedDisk[] {
  return judgements
    .filter(({ protection }) => protection !== 'excluded')
    .map((judgement) => {
      const { target } = judgement.disk;
      if (judgement.protection === 'full-compare') {
        return { target, isTracked: false, mode: 'full', reason: judgement.text };
      }
      const reason = reasonToReadWhole(target, base, state);
      return {
        target,
        isTracked: true,
        mode: reason === undefined ? 'incremental' : 'full',
        reason,
      };
    });
}

function reasonToReadWhole(
  target: string,
  base: CaptureBase | undefined,
  { checkpoint, disks }: TrackingState,
): string | undefined {
  if (!base) return 'there is no point that can be built on';
  if (checkpoint === 'unknown') return 'the checkpoint of the last point is gone';
  const before = base.disks.get(target);
  if (before === undefined) return 'the disk was not in the last point';
  const now = disks.get(target);
  if (before.sizeBytes > (now?.sizeBytes ?? 0)) return 'the disk became smaller';
  if (!now?.isIntact) return 'what tracked its changes is missing or broken';
  // A machine that has moved with copies of its images brings none of the files that it had.
  const hasMoved = checkpoint === 'adopted' && !hasAnyFileOf(disks, base);
  if (!hasMoved && !isSameImage(target, now, base)) return 'its image is another one';
  return undefined;
}

function hasAnyFileOf(disks: TrackingState['disks'], base: CaptureBase): boolean {
  const before = new Set([...base.disks.values()].flatMap(({ identities }) => identities));
  return [...disks.values()].some(({ identities }) => identities.some((each) => before.has(each)));
}

/** Snapshots change the files of a disk, but not all; other disks may lie on one of the files, too. */
function isSameImage(target: string, { identities }: TrackedDisk, base: CaptureBase): boolean {
  const ofOthers = new Set(
    [...base.disks].flatMap(([name, each]) => (name === target ? [] : each.identities)),
  );
  const own = (base.disks.get(target)?.identities ?? []).filter((each) => !ofOthers.has(each));
  return own.some((each) => identities.includes(each));
}
