/** What copies of single points share: each is a session of its own in the target. */
import type { RunContext } from '@coffer/base';
import { GEOMETRY } from '../config.ts';
import type { EncodedPoint, RecoveryPoint } from '../recovery-point.ts';
import type { PackWriter } from '../session/pack-writer.ts';
import type { Session } from '../session/session.ts';
import type { CopyPair } from './selection.ts';

export interface Copying extends CopyPair {
  readonly run: RunContext;
  /** The target is not listed whole, unless the point is large beside that. */
  readonly isForFew: boolean;
  /** Points of an item in the target that may be built on. */
  readonly basesOf: (item: string) => Promise<readonly RecoveryPoint[]>;
}

export interface Copied {
  /** In the target. */
  readonly id: string;
  readonly chunksNew: number;
  readonly bytesStored: number;
}

/** So many chunks are looked for as long as it takes to list one pack. */
const CHUNKS_PER_PACK_LISTED = 16;

/** A point with more chunks is copied faster when the packs of the target are listed. */
export async function chunksLookedForMax({ target, isForFew }: Copying): Promise<number> {
  if (!isForFew) return 0;
  // A local index that is new knows of no pack.
  await target.index.synchronize(target.store, target.run.signal);
  return target.index.packCount * CHUNKS_PER_PACK_LISTED;
}

/** What holes and files that are alike leave of it is less, and what small files make of it more. */
export function leastChunksOf({ roots }: RecoveryPoint): number {
  const sizeBytes = roots.reduce((sum, root) => sum + root.sizeBytes, 0);
  return sizeBytes / GEOMETRY.diskChunkSizeBytes;
}

/** Undefined when `copy` gives up. */
export async function copyIn<W extends PackWriter>(
  session: Session<W>,
  copy: () => Promise<EncodedPoint | undefined>,
): Promise<Copied | undefined> {
  try {
    const encoded = await copy();
    if (encoded) {
      await session.commit([encoded]);
      return { id: encoded.id, ...session.writer.statistics };
    }
  } catch (error) {
    await session.abandon().catch(() => {
      // The store may be gone; a garbage collection ends the session then.
    });
    throw error;
  }
  await session.abandon();
  return undefined;
}
