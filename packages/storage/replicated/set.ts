/**
 * The set of units that are in sync, and what may become of it. Pure. SPEC.md has the argument.
 *
 * A set has a number; the next one differs by one unit. Which set has a number is decided by votes:
 * each unit has one for each number, and never changes it.
 */
import { assert } from '@coffer/base';

export interface UnitSet {
  readonly number: number;
  /** Names of units that have all that exists. The first one leads: it decides who creates a name. */
  readonly members: readonly string[];
  /** One that gets all that is written while it is compared, and is not in sync yet. */
  readonly joining: Joining | undefined;
}

export interface Joining {
  readonly unit: string;
  /** Random: of two that compare a unit at once, one goes on. */
  readonly by: string;
}

/** What happens to a set. */
export type SetEvent =
  /** It does not do what it is asked for, or holds what nobody decided. */
  | { readonly kind: 'unit-failed'; readonly unit: string }
  /** It answers again, and is to be compared. */
  | { readonly kind: 'unit-returned'; readonly unit: string; readonly by: string }
  /** Nothing that exists is missing there any more. */
  | { readonly kind: 'unit-equal'; readonly unit: string; readonly by: string };

/** The next set; `unchanged` where the event says nothing new; `refused` where it cannot be followed. */
export type SetChange = UnitSet | 'unchanged' | 'refused';

/** Total: each event has an answer for each set. `membersMin` units have to have what exists. */
export function changeSet(set: UnitSet, event: SetEvent, membersMin: number): SetChange {
  const { unit } = event;
  const isMember = set.members.includes(unit);
  const isJoining = set.joining?.unit === unit;
  const next = { ...set, number: set.number + 1 };
  switch (event.kind) {
    case 'unit-failed': {
      if (isJoining) return { ...next, joining: undefined };
      if (!isMember) return 'unchanged';
      if (set.members.length <= membersMin) return 'refused';
      return { ...next, members: set.members.filter((each) => each !== unit) };
    }
    case 'unit-returned': {
      if (isMember) return 'unchanged';
      // Also where it is joining: whoever began that may be gone, and otherwise finds out.
      if (set.joining !== undefined && !isJoining) return 'refused';
      return { ...next, joining: { unit, by: event.by } };
    }
    case 'unit-equal': {
      if (isMember) return 'unchanged';
      if (!isJoining || set.joining?.by !== event.by) return 'refused';
      return { ...next, members: [...set.members, unit], joining: undefined };
    }
  }
}

/** What a unit says of a number: the set it has voted for, or that it has not; or it says nothing. */
export type Vote = UnitSet | 'none' | 'unknown';

export type Decision =
  | { readonly state: 'decided'; readonly set: UnitSet }
  /** It was not decided when the units were asked: more than half have no vote. */
  | { readonly state: 'undecided' }
  /** No set can have more than half of the votes any more. */
  | { readonly state: 'void' }
  /** It depends on votes that are not cast or not known. */
  | { readonly state: 'open' };

/** Of the votes of all units, each of them once. */
export function countVotes(votes: readonly Vote[]): Decision {
  const majority = majorityOf(votes.length);
  const counts = new Map<string, { readonly set: UnitSet; count: number }>();
  let none = 0;
  let unknown = 0;
  for (const vote of votes) {
    if (vote === 'none') none++;
    else if (vote === 'unknown') unknown++;
    else {
      const key = encodeSet(vote);
      const known = counts.get(key);
      counts.set(key, { set: vote, count: (known?.count ?? 0) + 1 });
    }
  }
  let most = 0;
  for (const { set, count } of counts.values()) {
    if (count >= majority) return { state: 'decided', set };
    most = Math.max(most, count);
  }
  if (none >= majority) return { state: 'undecided' };
  return { state: most + none + unknown < majority ? 'void' : 'open' };
}

/** More than half. Any two majorities of the same units have one in common. */
export function majorityOf(unitCount: number): number {
  assert(unitCount >= 1, 'a store has units');
  return Math.floor(unitCount / 2) + 1;
}

export function setName(number: number): string {
  return `units/set-${String(number).padStart(10, '0')}`;
}

/** One text for each set: who proposes the same, votes for the same. */
export function encodeSet({ number, members, joining }: UnitSet): string {
  return JSON.stringify({ number, members, joining: joining ?? null });
}

const UNIT_NAME = /^[a-z0-9][a-z0-9.-]{0,63}$/;

/** Undefined for what is no record of this number. */
export function decodeSet(text: string, number: number): UnitSet | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  if (!('number' in value && 'members' in value && 'joining' in value)) return undefined;
  const { members, joining } = value;
  if (value.number !== number || !Array.isArray(members) || !members.every(isUnitName)) {
    return undefined;
  }
  if (members.length === 0) return undefined;
  if (joining === null) return { number, members, joining: undefined };
  return isJoiningRecord(joining) ? { number, members, joining } : undefined;
}

function isJoiningRecord(value: unknown): value is Joining {
  if (typeof value !== 'object' || value === null) return false;
  return 'unit' in value && isUnitName(value.unit) && 'by' in value && isUnitName(value.by);
}

export function isUnitName(name: unknown): name is string {
  return typeof name === 'string' && UNIT_NAME.test(name);
}
