/**
 * How a unit comes back into the set: it gets all that is written, is compared with the leader both
 * ways until a comparison finds nothing to do, and is a member then. SPEC.md, C1 to C4.
 */
import { type Random, isCofferError } from '@coffer/base';
import type { CallOptions, ObjectStore } from '../object-store.ts';
import { compareObject, copyObject } from './copy-object.ts';
import { InSet, type InSetOptions, type SetView } from './in-set.ts';
import { changeSet, type SetEvent, type UnitSet } from './set.ts';
import { sideBySide } from './side-by-side.ts';
import { UnitFailure } from './unit.ts';

export interface ReturnOptions extends InSetOptions {
  readonly random: Random;
  readonly signal?: AbortSignal | undefined;
}

/** `member`: it is one, again or still. `later`: another comparison runs, or too much is changing. */
export type ReturnOutcome = 'member' | 'later';

/** Comparisons until one finds nothing to do; each is over what was written since the one before. */
const COMPARISONS_MAX = 20;

/** Units of which the set that counts has none: those that may return. */
export async function absentUnits(options: InSetOptions, calls?: CallOptions): Promise<string[]> {
  const sets = new InSet(options);
  const { members } = await sets.run(calls, async ({ set }) => set);
  return [...options.units.keys()].filter((unit) => !members.includes(unit));
}

/** Fails with what the unit, or the leader, fails with; the unit is as absent as before then. */
export async function returnUnit(name: string, options: ReturnOptions): Promise<ReturnOutcome> {
  const sets = new InSet(options);
  const calls = { signal: options.signal };
  const by = options.random.bytes(16).toString('hex');
  const joined = await follow(sets, { kind: 'unit-returned', unit: name, by }, calls);
  if (joined.members.includes(name)) return 'member';
  for (let comparisons = 0; comparisons < COMPARISONS_MAX; comparisons++) {
    const view = await sets.view(calls);
    // C1: whoever is not in the set does not change what others compare.
    if (!isOurs(view.set, name, by)) return 'later';
    const changes = await equalize(view, sets.unit(name), calls).catch(async (error: unknown) => {
      throw await leave(sets, view.set, error, calls);
    });
    if (changes > 0 || !(await sets.registry.isCurrent(view.set, calls))) continue;
    const event = { kind: 'unit-equal', unit: name, by } as const;
    const after = await follow(sets, event, calls);
    if (after.members.includes(name)) return 'member';
  }
  return 'later';
}

function isOurs({ joining }: UnitSet, unit: string, by: string): boolean {
  return joining?.unit === unit && joining.by === by;
}

/** The set that is decided after an event; as it was, where the event cannot be followed. */
async function follow(sets: InSet, event: SetEvent, calls: CallOptions): Promise<UnitSet> {
  const set = await sets.run(calls, async (view) => view.set);
  const next = changeSet(set, event, sets.membersMin);
  if (next === 'unchanged' || next === 'refused') return set;
  return await sets.registry.propose(next, calls);
}

/** What to throw: a unit that failed is out of the set, when the set can do without it. */
async function leave(
  sets: InSet,
  set: UnitSet,
  error: unknown,
  calls: CallOptions,
): Promise<unknown> {
  if (!(error instanceof UnitFailure)) return error;
  await sets.goOnWithout(set, error, calls).catch(() => {
    // The failure that comes first is told.
  });
  return error.failure;
}

/** Makes the unit equal to the leader; returns how much there was to do. */
async function equalize(
  { leader }: SetView,
  unit: ObjectStore,
  calls: CallOptions,
): Promise<number> {
  let changes = 0;
  const rows = sideBySide([leader.list('', calls), unit.list('', calls)]);
  for await (const row of rows) {
    const name = (row[0] ?? row[1])!.name;
    if (name.startsWith('units/')) continue;
    if (await equalizeObject(name, { leader, unit, isOnBoth: !row.includes(undefined) }, calls)) {
      changes++;
    }
  }
  return changes;
}

interface Compared {
  readonly leader: ObjectStore;
  readonly unit: ObjectStore;
  /** As their lists say, which are older than what is here now. */
  readonly isOnBoth: boolean;
}

/** True when the unit was changed, or the object is changing (C2, C3). */
async function equalizeObject(
  name: string,
  { leader, unit, isOnBoth }: Compared,
  calls: CallOptions,
): Promise<boolean> {
  const pair = { source: leader, target: unit };
  if (isOnBoth) {
    const compared = await compareObject(name, pair, calls);
    if (compared !== 'different') return compared === 'changing';
    await unit.delete(name, calls);
    await copyIfAbsent(name, pair, calls);
    return true;
  }
  const ofLeader = await leader.stat(name, calls);
  const ofUnit = await unit.stat(name, calls);
  if (ofLeader && !ofUnit) await copyIfAbsent(name, pair, calls);
  else if (ofUnit && !ofLeader) await unit.delete(name, calls);
  // On both by now: a writer was faster, and what it wrote is looked at by the next comparison.
  return (ofLeader ?? ofUnit) !== undefined;
}

async function copyIfAbsent(
  name: string,
  pair: { readonly source: ObjectStore; readonly target: ObjectStore },
  calls: CallOptions,
): Promise<void> {
  try {
    await copyObject(name, pair, calls);
  } catch (error) {
    if (!isCofferError(error, 'object-exists')) throw error;
  }
}
