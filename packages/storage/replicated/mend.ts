/**
 * Mends what a killed process, or a unit that lost a file, has left in the set: SPEC.md, M1 and M2.
 * To be run from time to time, and after a unit has returned.
 */
import { type Clock, isCofferError } from '@coffer/base';
import type { CallOptions, ObjectInfo, ObjectStore } from '../object-store.ts';
import { compareObject, copyObject } from './copy-object.ts';
import { InSet, type InSetOptions } from './in-set.ts';
import { sideBySide } from './side-by-side.ts';

export interface MendOptions extends InSetOptions {
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

export interface Mended {
  /** Objects that a member lacked. */
  readonly completed: number;
  /** Objects that the leader has not, or has another of, and that have been so for a day. */
  readonly removed: number;
}

/** What is older, and does not exist, belongs to no call that is under way. */
const ABANDONED_AGE_MS = 24 * 60 * 60_000;

/** Until it is mended, what only some members hold does not exist, and its name is not free. */
export async function mendUnits(options: MendOptions): Promise<Mended> {
  const sets = new InSet(options);
  const calls = { signal: options.signal };
  return await sets.run(calls, async ({ leader, others }) => {
    const mended = { completed: 0, removed: 0 };
    for (const member of others) {
      const rows = sideBySide([leader.list('', calls), member.list('', calls)]);
      for await (const [ofLeader, ofMember] of rows) {
        const name = (ofLeader ?? ofMember)!.name;
        if (name.startsWith('units/')) continue;
        const isAbandoned = isOld(ofMember, options.clock);
        const place = { leader, member, isAbandoned };
        if (ofMember && (await removeAbandoned(name, place, calls))) mended.removed++;
        else if (ofMember || !ofLeader) continue;
        await complete(name, place, calls);
        mended.completed++;
      }
    }
    return mended;
  });
}

function isOld(info: ObjectInfo | undefined, clock: Clock): boolean {
  return info !== undefined && clock.now() - info.createdAt > ABANDONED_AGE_MS;
}

interface Place {
  readonly leader: ObjectStore;
  readonly member: ObjectStore;
  readonly isAbandoned: boolean;
}

/** True for what the leader does not hold alike, and nobody can be about to decide any more. */
async function removeAbandoned(
  name: string,
  { leader, member, isAbandoned }: Place,
  calls: CallOptions,
): Promise<boolean> {
  if (!isAbandoned) return false;
  const compared = await compareObject(name, { source: leader, target: member }, calls);
  if (compared === 'same') return false;
  await member.delete(name, calls);
  return true;
}

async function complete(
  name: string,
  { leader, member }: Place,
  calls: CallOptions,
): Promise<void> {
  try {
    await copyObject(name, { source: leader, target: member }, calls);
  } catch (error) {
    if (!isCofferError(error, 'object-exists')) throw error;
  }
}
