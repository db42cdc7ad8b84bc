/**
 * What guests have swapped out is not protected: no start after a restore would use it.
 *
 * Invariant: of a disk that is read by changes, the base has left out nothing that is read now. What
 * was left out is not in the base, and need not have changed since.
 */
import { digest } from '@coffer/base';
import type { ByteRange } from '@coffer/disk/disk.ts';
import { joinedRanges, rangesOutside, withoutRanges } from '@coffer/disk/without-ranges.ts';
import { findSwap, type SwapArea } from '@coffer/file-system/swap/swap.ts';
import type { CapturedDisk, VmCapture } from '@coffer/workloads/vm-capture.ts';
import type { VmManifest } from './manifest.ts';

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
  readonly signal?: AbortSignal | undefined;
}

export async function withoutSwap(
  { disks, consistency }: Pick<VmCapture, 'disks' | 'consistency'>,
  { readsSwap, before, signal }: WithoutSwapOptions,
): Promise<WithoutSwap> {
  const isAtRest = ['application', 'file-system'].includes(consistency.level);
  const searched = readsSwap ? [] : disks.map(({ disk }) => disk);
  const areas = await findSwap(searched, { isAtRest, signal });
  const swap = disks.flatMap(({ name }, diskIndex) => describe(areas, { name, diskIndex }));
  const isLeftOutStill = (one: LeftOut[number]): boolean =>
    swap.some((each) => each.disk === one.disk && each.places === one.places);
  return {
    disks: disks.map((captured, diskIndex) => {
      const isReadNow = before.some((one) => one.disk === captured.name && !isLeftOutStill(one));
      const reason = 'swap that was left out before is read now';
      const changed = isReadNow ? { ...captured, changes: undefined, reason } : captured;
      return leaveOut(changed, rangesOf(areas, diskIndex));
    }),
    swap,
  };
}

function describe(
  areas: readonly SwapArea[],
  disk: { readonly name: string; readonly diskIndex: number },
): LeftOut {
  return areas.flatMap((area) => {
    const ranges = rangesOf([area], disk.diskIndex);
    if (ranges.length === 0) return [];
    const bytes = ranges.reduce((sum, { length }) => sum + length, 0);
    const places = digest(Buffer.from(JSON.stringify(ranges))).toString('hex');
    return [{ disk: disk.name, area: area.name, bytes, places }];
  });
}

function leaveOut(captured: CapturedDisk, ranges: readonly ByteRange[]): ReadDisk {
  if (ranges.length === 0) return { ...captured, leftOut: [] };
  const leftOut = joinedRanges(ranges);
  const { disk, changes } = captured;
  return {
    ...captured,
    disk: withoutRanges(disk, leftOut),
    changes: changes && rangesOutside(changes, leftOut),
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
