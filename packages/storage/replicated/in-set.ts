/** Operations over the set that counts: they begin again without a unit that fails them. */
import { CofferError, assert } from '@coffer/base';
import type { CallOptions, ObjectStore } from '../object-store.ts';
import { SetRegistry, type Units } from './registry.ts';
import { changeSet, type UnitSet } from './set.ts';
import { asUnit, UnitFailure } from './unit.ts';

/** An operation begins again when others changed what it met; so often, nobody else is that fast. */
const PASSES_MAX = 50;

/** Begin again: the units, or the object, are not what they were. */
export const AGAIN = Symbol('again');

/** The units of a set, as an operation sees them. */
export interface SetView {
  readonly set: UnitSet;
  /** It decides who creates a name. */
  readonly leader: ObjectStore;
  /** The other members. */
  readonly others: readonly ObjectStore[];
  /** All of the set. */
  readonly members: readonly ObjectStore[];
  /** Gets what is written, and is not in sync yet. */
  readonly joining: ObjectStore | undefined;
}

export interface InSetOptions {
  readonly units: Units;
  /** So many units hold whatever a put has announced. */
  readonly membersMin: number;
}

export class InSet {
  readonly registry: SetRegistry;
  readonly membersMin: number;
  /** As they fail with `UnitFailure`. */
  readonly units: Units;

  constructor({ units, membersMin }: InSetOptions) {
    this.registry = new SetRegistry(units);
    this.membersMin = membersMin;
    this.units = new Map([...units].map(([name, unit]) => [name, asUnit(name, unit)]));
  }

  unit(name: string): ObjectStore {
    const unit = this.units.get(name);
    if (unit) return unit;
    // A set that names a unit which is not configured here: nobody may act without it.
    throw new CofferError('store-unavailable', { unit: name, reason: 'the unit is not known' });
  }

  /** What is known here; whether it still counts shows in the end. */
  async view(options?: CallOptions): Promise<SetView> {
    const set = await this.registry.known(options);
    const members = set.members.map((name) => this.unit(name));
    const [leader, ...others] = members;
    assert(leader !== undefined, 'a set has a leader');
    const joining = set.joining && this.unit(set.joining.unit);
    return { set, leader, others, members, joining };
  }

  /** Does a pass over the set that counts, and again when that has changed meanwhile (R1). */
  async run<T>(
    options: CallOptions | undefined,
    pass: (view: SetView) => Promise<T | typeof AGAIN>,
  ): Promise<T> {
    for (let passes = 0; passes < PASSES_MAX; passes++) {
      options?.signal?.throwIfAborted();
      const view = await this.view(options);
      try {
        const result = await pass(view);
        const isCurrent = await this.registry.isCurrent(view.set, options);
        if (isCurrent && result !== AGAIN) return result;
      } catch (error) {
        await this.goOnWithout(view.set, error, options);
      }
    }
    throw tooBusy();
  }

  /** Takes a unit that failed out of the set; fails with its failure where the set needs it. */
  async goOnWithout(set: UnitSet, error: unknown, options: CallOptions | undefined): Promise<void> {
    if (!(error instanceof UnitFailure)) throw error;
    // Somebody else may have done it.
    if (!(await this.registry.isCurrent(set, options))) return;
    const next = changeSet(set, { kind: 'unit-failed', unit: error.unit }, this.membersMin);
    if (next === 'refused') throw error.failure;
    if (next !== 'unchanged') await this.registry.propose(next, options);
  }
}

export function tooBusy(): CofferError {
  const reason = 'its units change all the time';
  return new CofferError('store-unavailable', { reason });
}
