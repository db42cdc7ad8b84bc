/**
 * One object store over several units, of which one or more may be away. An object exists where every
 * unit of the set that counts holds it. Comments name the invariants of SPEC.md that they keep.
 */
import { CofferError, assert, isCofferError } from '@coffer/base';
import { checkName, checkPrefix } from '../checks.ts';
import type {
  ByteRange,
  CallOptions,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  StoreCapabilities,
  StreamOptions,
} from '../object-store.ts';
import { checkPromise, copyObject, compareObject, promisedDigest } from './copy-object.ts';
import { AGAIN, InSet, type InSetOptions, type SetView, tooBusy } from './in-set.ts';
import { isUnitName } from './set.ts';
import { agreedList } from './side-by-side.ts';
import { settled, UnitFailure } from './unit.ts';

export interface ReplicatedOptions extends InSetOptions {
  readonly location: string;
}

/** Outside of the names of a repository. */
const OWN_PREFIX = 'units/';
/** A list begins again so often without a unit that failed. */
const LISTS_MAX = 50;

/** Nothing is asked of the units yet. */
export function openReplicatedStore(options: ReplicatedOptions): ObjectStore {
  checkUnits(options);
  return new ReplicatedStore(options);
}

/** Makes the first set, of units that are empty, or hold the same. A set that is there stays. */
export async function formSet(options: InSetOptions, calls?: CallOptions): Promise<void> {
  checkUnits(options);
  const { registry, units } = new InSet(options);
  try {
    await registry.known(calls);
  } catch (error) {
    if (!isCofferError(error, 'repository-not-found')) throw error;
    await registry.propose({ number: 1, members: [...units.keys()], joining: undefined }, calls);
  }
}

function checkUnits({ units, membersMin }: InSetOptions): void {
  assert(membersMin >= 1 && membersMin <= units.size, 'a set can reach its minimum');
  for (const name of units.keys()) assert(isUnitName(name), 'a unit has a name');
}

class ReplicatedStore implements ObjectStore {
  readonly location: string;
  readonly capabilities: StoreCapabilities;
  readonly #sets: InSet;

  constructor(options: ReplicatedOptions) {
    const all = [...options.units.values()].map(({ capabilities }) => capabilities);
    this.location = options.location;
    this.#sets = new InSet(options);
    this.capabilities = {
      serverTime: all.every(({ serverTime }) => serverTime),
      deletes: all.every(({ deletes }) => deletes),
      finishesSessions: false,
      objectLock: all.every(({ objectLock }) => objectLock),
    };
  }

  async put(name: string, bytes: Uint8Array, options?: CallOptions): Promise<void> {
    checkOwnName(name);
    let mayBeOurs = false;
    const isNew = await this.#sets.run(options, async (view) => {
      const put = (unit: ObjectStore): Promise<boolean> =>
        isCreated(unit.put(name, bytes, options));
      const created = await put(view.leader).catch((error: unknown) => {
        // It may have been made all the same.
        mayBeOurs = true;
        throw error;
      });
      mayBeOurs ||= created;
      const isOurs = created || (mayBeOurs && (await holds(view.leader, name, bytes, options)));
      return (await complete(view, name, isOurs ? put : undefined, options)) ?? isOurs;
    });
    if (!isNew) throw new CofferError('object-exists', { name });
  }

  async putStream(
    name: string,
    source: AsyncIterable<Uint8Array>,
    options: StreamOptions,
  ): Promise<void> {
    checkOwnName(name);
    options.signal?.throwIfAborted();
    const view = await this.#sets.view(options);
    // A source comes once: who sends it again meets a set without a leader that failed.
    const isOurs = await isCreated(view.leader.putStream(name, source, options)).catch(
      async (error: unknown) => {
        await this.#sets.goOnWithout(view.set, error, options);
        throw error instanceof UnitFailure ? error.failure : error;
      },
    );
    await this.#sets.run(options, async (now) => {
      // The leader of then may be gone, and have taken with it what no other has.
      if (isOurs && !(await now.leader.stat(name, options))) throw unavailable(name);
      return (await complete(now, name, undefined, options)) ?? isOurs;
    });
    if (!isOurs) throw new CofferError('object-exists', { name });
  }

  async get(name: string, options: GetOptions): Promise<Buffer> {
    checkOwnName(name);
    if (promisedDigest(name) === undefined) {
      return await this.#agreed(name, options, (unit) => unit.get(name, options));
    }
    return await this.#fromAny(name, options, async (unit) => {
      const bytes = await unit.get(name, options);
      checkPromise(name, bytes);
      return bytes;
    });
  }

  async getRange(name: string, range: ByteRange, options?: CallOptions): Promise<Buffer> {
    return await this.#read(name, options, (unit) => unit.getRange(name, range, options));
  }

  async getInto(
    name: string,
    offset: number,
    target: Uint8Array,
    options?: CallOptions,
  ): Promise<void> {
    await this.#read(name, options, (unit) => unit.getInto(name, offset, target, options));
  }

  async stat(name: string, options?: CallOptions): Promise<ObjectInfo | undefined> {
    checkOwnName(name);
    return await this.#sets.run(options, async ({ members }) => {
      const infos = await settled(members.map((unit) => unit.stat(name, options)));
      return infos.every((info) => info !== undefined) ? infos[0] : undefined;
    });
  }

  /** Begins again after the last name that was given when a unit fails. */
  async *list(prefix: string, options?: CallOptions): AsyncGenerator<ObjectInfo> {
    checkPrefix(prefix);
    let last = '';
    for (let lists = 0; lists < LISTS_MAX; lists++) {
      // R2: asked when the list has begun, so these units hold all that existed then.
      const { set, members } = await this.#sets.run(options, async (view) => view);
      try {
        for await (const info of agreedList(members.map((unit) => unit.list(prefix, options)))) {
          if (info.name <= last || info.name.startsWith(OWN_PREFIX)) continue;
          yield info;
          last = info.name;
        }
        return;
      } catch (error) {
        await this.#sets.goOnWithout(set, error, options);
      }
    }
    throw tooBusy();
  }

  async delete(name: string, options?: CallOptions): Promise<void> {
    checkOwnName(name);
    await this.#sets.run(options, async ({ leader, others, joining }) => {
      const rest = joining ? [...others, joining] : others;
      // W3: the name is free again when nobody else holds it any more.
      await settled(rest.map((unit) => unit.delete(name, options)));
      await leader.delete(name, options);
      // W4: a put at the same time may have come in between. While we have not ended, that goes, too.
      const left = await settled(rest.map((unit) => unit.stat(name, options)));
      return left.every((info) => info === undefined) ? undefined : AGAIN;
    });
  }

  async protect(name: string, untilMs: number, options?: CallOptions): Promise<void> {
    checkOwnName(name);
    await this.#sets.run(options, async ({ members }) => {
      await settled(members.map((unit) => unit.protect(name, untilMs, options)));
    });
  }

  /** Of the units that answer: what one that is away has left can wait. */
  async removeLeftovers(olderThanMs: number, options?: CallOptions): Promise<void> {
    const { members } = await this.#sets.view(options);
    for (const unit of members) {
      await unit.removeLeftovers(olderThanMs, options).catch((error: unknown) => {
        if (!(error instanceof UnitFailure)) throw error;
      });
    }
  }

  async close(): Promise<void> {
    await settled([...this.#sets.units.values()].map((unit) => unit.close()));
  }

  async #read<T>(
    name: string,
    options: CallOptions | undefined,
    read: (unit: ObjectStore) => Promise<T>,
  ): Promise<T> {
    checkOwnName(name);
    return promisedDigest(name) === undefined
      ? await this.#agreed(name, options, read)
      : await this.#fromAny(name, options, read);
  }

  /** Reads what the leader holds, when all others hold it, too. */
  async #agreed<T>(
    name: string,
    options: CallOptions | undefined,
    read: (unit: ObjectStore) => Promise<T>,
  ): Promise<T> {
    const found = await this.#sets.run(options, async ({ leader, others }) => {
      const [outcome, infos] = await Promise.all([
        answerOf(read(leader)),
        settled(others.map((unit) => unit.stat(name, options))),
      ]);
      return infos.every((info) => info !== undefined) ? outcome : { answer: notFound(name) };
    });
    if ('answer' in found) throw found.answer;
    return found.value;
  }

  /**
   * R3: packs and index objects never change, and are checked by their names or by what is in them:
   * any unit may answer. That there is none, all of the set have to say.
   */
  async #fromAny<T>(
    name: string,
    options: CallOptions | undefined,
    read: (unit: ObjectStore) => Promise<T>,
  ): Promise<T> {
    const { set, members } = await this.#sets.view(options);
    const failures: unknown[] = [];
    const tryAll = async (units: readonly ObjectStore[]): Promise<{ value: T } | undefined> => {
      for (const unit of units) {
        options?.signal?.throwIfAborted();
        try {
          return { value: await read(unit) };
        } catch (error) {
          if (!(error instanceof UnitFailure) && !isCofferError(error)) throw error;
          if (!isCofferError(error, 'object-not-found')) failures.push(error);
        }
      }
      return undefined;
    };
    const found = await tryAll(members);
    if (found) return found.value;
    if (failures.length > 0) {
      const names = [...this.#sets.units.keys()].filter((unit) => !set.members.includes(unit));
      const elsewhere = await tryAll(names.map((unit) => this.#sets.unit(unit)));
      if (elsewhere) return elsewhere.value;
      // What is wrong with an object says more than that others do not answer.
      throw failures.find((failure) => isCofferError(failure)) ?? failureOf(failures[0]);
    }
    if (await this.stat(name, options)) throw unavailable(name);
    throw notFound(name);
  }
}

/** False when there is one of that name. */
async function isCreated(put: Promise<unknown>): Promise<boolean> {
  try {
    await put;
    return true;
  } catch (error) {
    if (isCofferError(error, 'object-exists')) return false;
    throw error;
  }
}

async function holds(
  unit: ObjectStore,
  name: string,
  bytes: Uint8Array,
  options: CallOptions | undefined,
): Promise<boolean> {
  const read = answerOf(unit.get(name, { ...options, sizeBytesMax: bytes.length }));
  const outcome = await read;
  return 'value' in outcome && outcome.value.equals(bytes);
}

/**
 * Brings what the leader holds to all others (W1), also what another one has put there: whoever hears
 * that it exists relies on it (W2). Undefined when all of them hold it.
 */
async function complete(
  { set, leader, others, joining }: SetView,
  name: string,
  put: ((unit: ObjectStore) => Promise<boolean>) | undefined,
  options: CallOptions | undefined,
): Promise<typeof AGAIN | undefined> {
  const copy = (target: ObjectStore): Promise<boolean> =>
    isCreated(copyObject(name, { source: leader, target }, options));
  const bring = put ?? copy;
  // A unit that is compared may hold what is old; the comparison sees that (C2).
  const joined = joining ? bring(joining) : Promise.resolve(true);
  const brought = others.map(async (target, index) => {
    if (await bring(target)) return true;
    const compared = await compareObject(name, { source: leader, target }, options);
    if (compared !== 'different') return compared === 'same';
    // W5: nobody decided that, and it cannot be told from what somebody is about to decide.
    throw new UnitFailure(set.members[index + 1]!, unavailable(name));
  });
  const [, ...areThere] = await settled([joined, ...brought]);
  if (!areThere.every((isThere) => isThere)) return AGAIN;
  // W4: a deletion at the same time may have come in between. Then it is put again, or is another's.
  return (await leader.stat(name, options)) ? undefined : AGAIN;
}

/** What a unit answers, an error that is no fault of the unit included. */
async function answerOf<T>(
  read: Promise<T>,
): Promise<{ readonly value: T } | { readonly answer: CofferError }> {
  try {
    return { value: await read };
  } catch (error) {
    if (isCofferError(error)) return { answer: error };
    throw error;
  }
}

function failureOf(error: unknown): unknown {
  return error instanceof UnitFailure ? error.failure : error;
}

function checkOwnName(name: string): void {
  checkName(name);
  if (name.startsWith(OWN_PREFIX)) throw new CofferError('object-name-invalid', { name });
}

function notFound(name: string): CofferError {
  return new CofferError('object-not-found', { name });
}

function unavailable(name: string): CofferError {
  return new CofferError('store-unavailable', { name, reason: 'the units do not agree on it' });
}
