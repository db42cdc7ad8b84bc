/**
 * What guests have swapped out is not protected: no start after a restore would use it.
 *
 * Invariant: what the base has left out of a disk is read when it is not left out any more. It is not
 * in the base, and need not have changed since.
 */
import type { RunContext } from '@coffer/base';
import type { ByteRange } from '@coffer/disk/disk.ts';
import { mergedRanges, rangesOutside, withoutRanges } from '@coffer/disk/without-ranges.ts';
import { findSwap, type SwapArea } from '@coffer/file-system/swap/swap.ts';
import type { CapturedDisk, VmCapture } from '@coffer/workloads/vm-capture.ts';
import type { VmManifest } from '../manifest.ts';

/** A disk without what was left out of it. */
export interface ReadDisk extends CapturedDisk {
  readonly leftOut: readonly ByteRange[];
}

export type LeftOut = NonNullable<VmManifest['swap']>;

export interface WithoutSwap {
  readonly disks: readonly ReadDisk[];
  readonly swap: LeftOut;
}

export interface WithoutSwapOptions {
  /** Leaves out nothing. */
  readonly readsSwap: boolean;
  /** What the base has left out. */
  readonly before: LeftOut;
}

export async function withoutSwap(
  { signal }: RunContext,
  { disks, consistency }: Pick<VmCapture, 'disks' | 'consistency'>,
  { readsSwap, before }: WithoutSwapOptions,
): Promise<WithoutSwap> {
  const isAtRest = ['application', 'file-system'].includes(consistency.level);
  const searched = readsSwap ? [] : disks.map(({ disk }) => disk);
  const areas = await findSwap(searched, { isAtRest, signal });
  return {
    disks: disks.map((captured, diskIndex) =>
      leaveOut(captured, {
        leftOut: rangesOf(areas, diskIndex),
        before: before.flatMap(({ disk, ranges }) => (disk === captured.name ? ranges : [])),
      }),
    ),
    swap: disks.flatMap(({ name }, diskIndex) =>
      areas.flatMap((area) => {
        const ranges = rangesOf([area], diskIndex);
        return ranges.length === 0 ? [] : [{ disk: name, area: area.name, ranges }];
      }),
    ),
  };
}

function leaveOut(
  captured: CapturedDisk,
  { leftOut, before }: { readonly leftOut: ByteRange[]; readonly before: readonly ByteRange[] },
): ReadDisk {
  const { disk, changes } = captured;
  return {
    ...captured,
    disk: leftOut.length === 0 ? disk : withoutRanges(disk, leftOut),
    changes: changes && rangesOutside(mergedRanges(changes, before), leftOut),
    leftOut,
  };
}

function rangesOf(areas: readonly SwapArea[], diskIndex: number): ByteRange[] {
  return areas.flatMap(({ places }) =>
    places.flatMap(({ diskIndex: of, offset, length }) =>
      of === diskIndex ? [{ offset, length }] : [],
    ),
  );
}
