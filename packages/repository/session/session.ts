/**
 * One writer's run. It begins before it looks at what is stored, and ends by one create-only object;
 * a garbage collection that takes it for dead ends it first, and then it can never publish.
 *
 * Invariant: the points of a committed session reach stored chunks only, in packs that no garbage
 * collection deletes: one that began earlier is known here as condemned, one that begins later
 * waits for the end of this session. PROTOCOL.md has the argument.
 */
import { isDeepStrictEqual } from 'node:util';
import { CofferError } from '@coffer/base';
import type { ChunkId } from '../chunk/chunk-id.ts';
import type { RepositoryContext } from '../context.ts';
import { type GcState, readGcState, willIndexObjectCount } from '../generations/gc-record.ts';
import type { AcceptsPack, ChunkIndex, IndexedPack } from '../index/chunk-index.ts';
import type { EncodedPoint } from '../recovery-point.ts';
import { packObjectName } from '../pack/pack-codec.ts';
import { PacksLookedUp } from '../pack/packs-looked-up.ts';
import { type PackPlace, StoredPacks } from '../pack/stored-packs.ts';
import type { ChunkWriter } from './chunk-writer.ts';
import type { PackWriter, PackWriterOptions, ReliedPack } from './pack-writer.ts';
import { type Entered, enter, enterAttempt, WRITER } from './enter.ts';
import { listCommitted, removeEnded } from './finish.ts';
import type { Attempt, JobResult } from './job.ts';
import { beginName, type CommittedEnd, endName, renewalName, writeEnd } from './session-record.ts';

/** How often a session shows that it is alive. */
const RENEWAL_INTERVAL_MS = 10 * 60_000;
/** Without a sign of life for this long, a session may be fenced. It decides when, never whether. */
export const LEASE_MS = 60 * 60_000;

/** A sign of life that is so much later than now, by the store's clock, is none. */
export const CLOCK_DIFFERENCE_MS_MAX = 24 * 60 * 60_000;

export interface SessionOptions<W extends PackWriter> {
  readonly context: RepositoryContext;
  readonly makeWriter: (options: PackWriterOptions) => W;
  readonly packSizeBytes?: number | undefined;
  /** What is stored is read again before anything refers to it. */
  readonly readsBack?: boolean | undefined;
  /**
   * Packs that are relied on are looked for one by one, and not listed: for who relies on few of many.
   * Then `Session.isStored` tells whether a chunk is stored, and no tree of an older point is taken
   * over whole.
   */
  readonly looksUpPacks?: boolean | undefined;
}

/** What came of beginning an attempt. */
export type BegunAttempt<W extends PackWriter> =
  | { readonly outcome: 'begun'; readonly session: Session<W> }
  /** By an earlier attempt: its points exist, unless somebody has removed them. */
  | { readonly outcome: 'committed'; readonly result: JobResult };

/** What the session saw in the store when it began. */
interface Seen extends Entered {
  readonly state: GcState;
  /** The index objects that count. */
  readonly objects: ReadonlySet<string>;
  readonly packs: StoredPacks | PacksLookedUp;
  readonly acceptsPack: AcceptsPack;
  /** False when an index object that counts names a pack that is not there, or nobody has looked. */
  readonly areAllThere: boolean;
}

export class Session<W extends PackWriter = ChunkWriter> {
  readonly id: string;
  readonly writer: W;
  readonly #context: RepositoryContext;
  readonly #seen: Seen;
  #reliesOnAll = false;
  readonly #stopRenewing = new AbortController();
  readonly #renewing: Promise<void>;

  private constructor(seen: Seen, options: SessionOptions<W>) {
    const { context, packSizeBytes, readsBack } = options;
    this.id = seen.id;
    this.#context = context;
    this.#seen = seen;
    this.writer = options.makeWriter({
      context,
      packSizeBytes,
      readsBack,
      generation: seen.state.generation,
      acceptsPack: seen.acceptsPack,
      lookFor: this.looksUpPacks ? (ids) => this.#lookFor(ids) : undefined,
    });
    this.#renewing = this.#keepRenewing(context);
  }

  static async begin<W extends PackWriter>(options: SessionOptions<W>): Promise<Session<W>> {
    const { context } = options;
    for (;;) {
      context.signal.throwIfAborted();
      const session = await Session.#beginAs(await enter(context), options);
      if (session) return session;
    }
  }

  /** The same for an attempt of a job, unless that has committed. Fails with `session-fenced`. */
  static async beginAttempt<W extends PackWriter>(
    options: SessionOptions<W>,
    attempt: Attempt,
  ): Promise<BegunAttempt<W>> {
    const { context } = options;
    for (;;) {
      context.signal.throwIfAborted();
      const entered = await enterAttempt(context, attempt);
      if (entered.outcome === 'committed') return entered;
      const session = await Session.#beginAs(entered, options);
      if (session) return { outcome: 'begun', session };
    }
  }

  /** Undefined when it has to begin anew, under another id. */
  static async #beginAs<W extends PackWriter>(
    { id, job }: Entered,
    options: SessionOptions<W>,
  ): Promise<Session<W> | undefined> {
    const { context } = options;
    const { store, index, signal } = context;
    const state = await readGcState(store, index.sweeps);
    // A collection that waits for us, or has swept what we showed, took us for one of before it;
    // we would work as one of after it, which the next collection does not wait for.
    if (state.unfinished?.sessions.includes(id)) {
      await writeEnd(store, { session: id, outcome: 'fenced', by: WRITER });
      return undefined;
    }
    if (!(await store.stat(beginName(id)))) return undefined;
    const { objects } = await index.synchronize(store, signal);
    // After the index: what an index object names was stored before it.
    const packs = options.looksUpPacks
      ? new PacksLookedUp(store, signal)
      : await StoredPacks.list(store, signal);
    const acceptsPack = acceptorIn(state, index, { objects, packs });
    const areAllThere = packs instanceof StoredPacks && !isAnyMissing(index, objects, packs);
    return new Session({ id, job, state, objects, packs, acceptsPack, areAllThere }, options);
  }

  /**
   * Which packs a writer of the session may rely on: those that an index object names which counts
   * (`objects`) and that are there, but not those that are condemned, or given (hexadecimal).
   */
  acceptor(objects: ReadonlySet<string>, absent: ReadonlySet<string>): AcceptsPack {
    const { state, packs } = this.#seen;
    return acceptorIn(state, this.#context.index, { objects, packs, absent });
  }

  /** Packs (hexadecimal) that were condemned, and not swept, when the session began. */
  get condemned(): ReadonlySet<string> {
    return new Set(this.#seen.state.unfinished?.packs);
  }

  /** The newest garbage collection when the session began. */
  get generation(): number {
    return this.#seen.state.generation;
  }

  /**
   * False when a chunk that an existing point reaches may be absent: it has to be looked for before
   * it is relied on. While a collection that the session does not hold up may still sweep, the point
   * may be removed and the chunk be condemned; and where packs are missing, it may be in one of them.
   */
  get isPointWhole(): boolean {
    return this.#seen.state.unfinished === undefined && this.#seen.areAllThere;
  }

  /**
   * True when an index object may be lost that named chunks which were there at that time, by the
   * store's clock: the newest sweep names one that is not there, or a pack of before is in none. Packs
   * of sessions that run are newer than the points that are there.
   */
  mayLackIndexOf(timeMs: number): boolean {
    const { state, objects, packs } = this.#seen;
    if (!(packs instanceof StoredPacks)) return true;
    if (state.sweep?.indexObjects.some((name) => !objects.has(name))) return true;
    const oldest = packs.oldestBut(packsIn(this.#context.index, objects));
    return oldest !== undefined && oldest <= timeMs;
  }

  /** Whether packs are looked for one by one, by `isStored`. */
  get looksUpPacks(): boolean {
    return this.#seen.packs instanceof PacksLookedUp;
  }

  /** True when a chunk is stored, and may be referred to. */
  async isStored(id: ChunkId): Promise<boolean> {
    if (this.looksUpPacks) await this.#lookFor([id]);
    return this.writer.isStored(id);
  }

  /** Asks for the packs of these chunks, which do not count as there before. */
  async #lookFor(ids: readonly ChunkId[]): Promise<void> {
    const { packs } = this.#seen;
    if (!(packs instanceof PacksLookedUp)) return;
    const { index } = this.#context;
    const places = ids.flatMap((id) => index.places(id));
    await packs.look(places.map(({ packNumber }) => index.requiredPack(packNumber)));
  }

  /** Says that whole trees of an older point are taken over: then no pack may vanish meanwhile. */
  relyOnAll(): void {
    this.#reliesOnAll = true;
  }

  /**
   * Makes the points exist. Fails with `session-fenced` when somebody else closed the session, with
   * `store-rolled-back` when the store has lost what the session has stored, or found there.
   */
  async commit(points: readonly EncodedPoint[]): Promise<void> {
    await this.writer.flush();
    await this.#requireRelied();
    await this.#stop();
    const end: CommittedEnd = {
      session: this.id,
      outcome: 'committed',
      ...(this.#seen.job !== undefined && { job: this.#seen.job }),
      generation: this.generation,
      points: points.map(({ id, item, bytes }) => ({ id, item, record: bytes.toString('base64') })),
    };
    const { store } = this.#context;
    const decided = await writeEnd(store, end);
    if (decided.outcome === 'fenced') throw new CofferError('session-fenced', { by: decided.by });
    // A collection that saw the end of somebody else would not keep what our points reach.
    if (!isDeepStrictEqual(decided, end)) throw new CofferError('session-fenced');
    // The points exist, whatever ends the run now; others would list them, too.
    const last = this.#context.parting();
    if (!(await listCommitted(last, end, this.#context.index.sweeps)))
      throw new CofferError('session-fenced');
    await removeEnded(last, this.id);
  }

  /** Gives up: what was written is garbage. */
  async abandon(): Promise<void> {
    await this.#stop();
    const end = { session: this.id, outcome: 'fenced', by: WRITER } as const;
    await writeEnd(this.#context.parting(), end);
  }

  async #stop(): Promise<void> {
    this.#stopRenewing.abort();
    await this.#renewing;
    await this.writer.close();
  }

  /**
   * A store that was rolled back to an earlier state, or is another one by now, has lost what makes
   * the points whole. Without its own `begin`, a collection would not have waited for the session.
   */
  async #requireRelied(): Promise<void> {
    const { store } = this.#context;
    const { objects, packs, found } = this.writer.relied;
    // Whoever fences a session, or has collected after that, says so better than a missing object.
    if (await store.stat(endName(this.id))) return;
    for (const name of [beginName(this.id), ...objects]) {
      if (!(await store.stat(name))) throw await this.#lost(name);
    }
    const relied = [...packs, ...found.values(), ...this.#reliedWhole()];
    const lost =
      firstLost(relied, await this.#lookAgain(relied)) ?? (await this.#findUnnamed(found));
    if (lost) throw await this.#lost(packObjectName(lost.pack));
  }

  *#reliedWhole(): Iterable<PackPlace> {
    const { packs } = this.#seen;
    if (this.#reliesOnAll && packs instanceof StoredPacks) yield* packs.all();
  }

  /** Which packs are there now. */
  async #lookAgain(relied: readonly PackPlace[]): Promise<StoredPacks | PacksLookedUp> {
    const { store } = this.#context;
    if (this.#seen.packs instanceof StoredPacks) return await StoredPacks.list(store);
    const packs = new PacksLookedUp(store);
    await packs.look(relied);
    return packs;
  }

  /**
   * A pack that was found, and that no index object names any more. A collection or a repair may
   * have its name written to another object between two lists, so there is a second look.
   */
  async #findUnnamed(found: ReadonlyMap<number, ReliedPack>): Promise<ReliedPack | undefined> {
    const { store, index } = this.#context;
    let unnamed = found;
    for (let look = 0; look < 2 && unnamed.size > 0; look++) {
      const { objects } = await index.synchronize(store);
      unnamed = withoutNamed(unnamed, index, objects);
    }
    for (const pack of unnamed.values()) return pack;
    return undefined;
  }

  /** A session that was fenced and swept meanwhile finds its objects gone, too. */
  async #lost(object: string): Promise<CofferError> {
    const { generation } = await readGcState(this.#context.store, this.#context.index.sweeps);
    if (generation > this.generation) return new CofferError('session-fenced', { object });
    return new CofferError('store-rolled-back', { object });
  }

  async #keepRenewing({ store, clock }: RepositoryContext): Promise<void> {
    const { signal } = this.#stopRenewing;
    try {
      for (let renewal = 1; ; renewal++) {
        await clock.sleep(RENEWAL_INTERVAL_MS, signal);
        await store.put(renewalName(this.id, renewal), Buffer.alloc(0), { signal });
      }
    } catch {
      // Stopped, or the store does not answer: then a collection may fence us, which is safe.
    }
  }
}

function firstLost(
  packs: Iterable<PackPlace>,
  stored: StoredPacks | PacksLookedUp,
): PackPlace | undefined {
  for (const pack of packs) if (!stored.has(pack)) return pack;
  return undefined;
}

interface Stored {
  /** Names of the index objects that count. */
  readonly objects: ReadonlySet<string>;
  readonly packs: StoredPacks | PacksLookedUp;
  /** Packs that count as absent (hexadecimal). */
  readonly absent?: ReadonlySet<string>;
}

function acceptorIn(
  { unfinished }: GcState,
  index: ChunkIndex,
  { objects, packs, absent = new Set() }: Stored,
): AcceptsPack {
  const counting = unfinished
    ? new Set([...objects].filter((name) => willIndexObjectCount(name, unfinished)))
    : objects;
  const named = index.acceptor(counting, new Set([...absent, ...(unfinished?.packs ?? [])]));
  const isThere = packs.acceptor(index);
  return (packNumber) => named(packNumber) && isThere(packNumber);
}

/** Without the packs that one of these index objects names. */
function withoutNamed(
  packs: ReadonlyMap<number, ReliedPack>,
  index: ChunkIndex,
  objects: ReadonlySet<string>,
): ReadonlyMap<number, ReliedPack> {
  const isNamed = index.acceptor(objects);
  const left = new Map<string, [number, ReliedPack]>();
  for (const [packNumber, relied] of packs) {
    const isSame = isNamed(packNumber) && index.requiredPack(packNumber).pack.equals(relied.pack);
    if (!isSame) left.set(relied.pack.toString('hex'), [packNumber, relied]);
  }
  if (left.size === 0) return new Map();
  // Under another number, which is rare: an index object, or the local index, was replaced.
  for (const { object, pack } of index.packs()) {
    if (objects.has(object)) left.delete(pack.toString('hex'));
  }
  return new Map(left.values());
}

function isAnyMissing(
  index: ChunkIndex,
  objects: ReadonlySet<string>,
  stored: StoredPacks,
): boolean {
  for (const pack of packsIn(index, objects)) if (!stored.has(pack)) return true;
  return false;
}

/** Those that one of these index objects names. */
function* packsIn(index: ChunkIndex, objects: ReadonlySet<string>): Iterable<IndexedPack> {
  for (const pack of index.packs()) if (objects.has(pack.object)) yield pack;
}
