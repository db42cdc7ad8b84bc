/**
 * Which set of units counts now: reads and casts the votes that the units hold. A unit's vote is an
 * object that is created once. SPEC.md, "Sets".
 */
import { CofferError, isCofferError } from '@coffer/base';
import type { CallOptions, ObjectStore } from '../object-store.ts';
import {
  countVotes,
  type Decision,
  decodeSet,
  encodeSet,
  setName,
  type UnitSet,
  type Vote,
} from './set.ts';

/** The units of a store by their names. Which they are never changes. */
export type Units = ReadonlyMap<string, ObjectStore>;

const SET_SIZE_BYTES_MAX = 64 * 1024;
/** Others may be casting votes at the same time; more than this, and something is wrong. */
const ROUNDS_MAX = 20;

export class SetRegistry {
  readonly #units: Units;
  /** The newest set that is known to be decided. */
  #set: UnitSet | undefined;
  /** The first number that may not be decided, or void. */
  #nextNumber = 1;

  constructor(units: Units) {
    this.#units = units;
  }

  /**
   * The set that counts, as far as is known here; whether it still does, `isCurrent` tells. Fails
   * with `repository-not-found` when there is none, or `store-unavailable` without a majority.
   */
  async known(options?: CallOptions): Promise<UnitSet> {
    if (this.#set === undefined) await this.#catchUp(options);
    if (this.#set === undefined)
      throw new CofferError('repository-not-found', { reason: 'no set' });
    return this.#set;
  }

  /**
   * Whether no other set was decided when this was asked. Of every decision more than half of the
   * units know, and more than half are asked.
   */
  async isCurrent(set: UnitSet, options?: CallOptions): Promise<boolean> {
    if (this.#set?.number !== set.number) return false;
    await this.#catchUp(options);
    return this.#set?.number === set.number;
  }

  /**
   * Proposes a set in the place of the one that is known; its number is chosen here. Returns the one
   * that was decided, which may be another's.
   */
  async propose(proposed: UnitSet, options?: CallOptions): Promise<UnitSet> {
    const before = this.#set?.number;
    for (;;) {
      const number = this.#nextNumber;
      const decision = await this.#decide({ ...proposed, number }, options);
      this.#learn(number, decision);
      if (this.#set && this.#set.number !== before) return this.#set;
    }
  }

  /** Learns all that was decided meanwhile. */
  async #catchUp(options: CallOptions | undefined): Promise<void> {
    for (;;) {
      const number = this.#nextNumber;
      let decision = await this.#ask(number, options);
      // Somebody's votes are there, and not enough of them: they are helped.
      if (decision.state === 'open') decision = await this.#decide(undefined, options, number);
      if (decision.state === 'undecided') return;
      this.#learn(number, decision);
    }
  }

  #learn(number: number, decision: Decision): void {
    // Another call of this process may have learned more.
    if (number < this.#nextNumber || decision.state === 'undecided' || decision.state === 'open') {
      return;
    }
    this.#nextNumber = number + 1;
    if (decision.state === 'decided') this.#set = decision.set;
  }

  /** Casts votes until a number is decided or void; without a set, only for what others proposed. */
  async #decide(
    proposed: UnitSet | undefined,
    options: CallOptions | undefined,
    number = proposed?.number ?? 0,
  ): Promise<Decision> {
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const votes = await this.#askAll(number, options);
      const decision = countVotes(votes);
      const isDone = decision.state === 'decided' || decision.state === 'void';
      if (isDone || (!proposed && decision.state === 'undecided')) return decision;
      const candidate = favourite(votes) ?? proposed;
      if (candidate) await this.#vote(candidate, options);
      if (countVotes(await this.#askAll(number, options)).state === 'open') break;
    }
    const reason = 'too few of its units answer to tell which of them count';
    throw new CofferError('store-unavailable', { reason });
  }

  async #vote(set: UnitSet, options: CallOptions | undefined): Promise<void> {
    const bytes = Buffer.from(encodeSet(set));
    await Promise.all(
      [...this.#units.values()].map((unit) =>
        unit.put(setName(set.number), bytes, options).catch(ignoreFailure),
      ),
    );
  }

  /** As soon as the answers decide: a unit that does not answer holds nobody up. */
  async #ask(number: number, options: CallOptions | undefined): Promise<Decision> {
    options?.signal?.throwIfAborted();
    const enough = new AbortController();
    const signals = [enough.signal, ...(options?.signal ? [options.signal] : [])];
    const signal = AbortSignal.any(signals);
    const votes: Vote[] = [...this.#units].map(() => 'unknown');
    return await new Promise((resolve, reject) => {
      let left = votes.length;
      [...this.#units.values()].forEach((unit, index) => {
        voteOf(unit, number, { signal })
          .then((vote) => {
            votes[index] = vote;
            const decision = countVotes(votes);
            if (--left > 0 && decision.state === 'open') return;
            resolve(decision);
            enough.abort(new Error('enough units have answered'));
          })
          .catch((error: unknown) => {
            reject(enough.signal.aborted ? new Error('never seen') : (error as Error));
          });
      });
    });
  }

  async #askAll(number: number, options: CallOptions | undefined): Promise<Vote[]> {
    return await Promise.all(
      [...this.#units.values()].map((unit) => voteOf(unit, number, options)),
    );
  }
}

/** Unknown where the unit does not answer; what is no record there is a vote for nothing. */
async function voteOf(
  unit: ObjectStore,
  number: number,
  options: CallOptions | undefined,
): Promise<Vote> {
  try {
    const limit = { ...options, sizeBytesMax: SET_SIZE_BYTES_MAX };
    const bytes = await unit.get(setName(number), limit);
    return decodeSet(bytes.toString('utf8'), number) ?? 'unknown';
  } catch (error) {
    options?.signal?.throwIfAborted();
    if (isCofferError(error, 'object-not-found')) return 'none';
    return ignoreFailure(error);
  }
}

/** The set with most votes: whoever helps, helps the same one. */
function favourite(votes: readonly Vote[]): UnitSet | undefined {
  const sets = votes.filter((vote) => typeof vote !== 'string');
  const countOf = (set: UnitSet): number =>
    sets.filter((each) => encodeSet(each) === encodeSet(set)).length;
  return sets.toSorted(
    (a, b) => countOf(b) - countOf(a) || (encodeSet(a) < encodeSet(b) ? -1 : 1),
  )[0];
}

/** A unit that fails has no say; anything else that is thrown ends the process that asked. */
function ignoreFailure(error: unknown): 'unknown' {
  if (error instanceof CofferError) return 'unknown';
  throw error;
}
