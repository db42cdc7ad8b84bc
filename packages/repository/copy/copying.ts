/** What copies of single points share: each is a session of its own in the target. */
import type { RunContext } from '@coffer/base';
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
