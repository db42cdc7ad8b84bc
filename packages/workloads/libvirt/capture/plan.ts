/**
 * How each disk of a machine is read: only what changed, or whole. Pure. Tracking that cannot be
 * trusted is not used: then the disk is read whole and compared by chunk.
 */
import type { CaptureBase } from '../../vm-capture.ts';
import type { DiskJudgement } from '../domain/protectable.ts';

/** What libvirt and QEMU know of the tracking of a machine. */
export interface TrackingState {
  /** Names of checkpoints that libvirt knows. */
  readonly checkpoints: ReadonlySet<string>;
  /** Disks whose bitmap of the base is there and intact, by target. */
  readonly intact: ReadonlyMap<string, unknown>;
  /** Sizes of the disks now, in bytes, by target. */
  readonly sizes: ReadonlyMap<string, number>;
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
  { checkpoints, intact, sizes }: TrackingState,
): string | undefined {
  if (!base) return 'it is the first point of the machine';
  if (!checkpoints.has(base.checkpoint)) return 'the checkpoint of the last point is gone';
  const before = base.diskSizes.get(target);
  if (before === undefined) return 'the disk was not in the last point';
  if (before > (sizes.get(target) ?? 0)) return 'the disk became smaller';
  if (!intact.has(target)) return 'what tracked its changes is missing or broken';
  return undefined;
}
