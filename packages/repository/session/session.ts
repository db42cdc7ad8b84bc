/**
 * One writer's run. It begins before it looks at what is stored, and ends by one create-only object;
 * a garbage collection that takes it for dead ends it first, and then it can never publish.
 *
 * Invariant: the points of a committed session reach stored chunks only, in packs that no garbage
 * collection deletes: one that began earlier is known here as condemned, one that begins later
 * waits for the end of this session. PROTOCOL.md has the argument.
 */
import { hostname } from 'node:os';
import { CofferError } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { ChunkWork } from '../chunk/chunk-work.ts';
import { type GcState, readGcState, survives, willIndexObjectCount } from '../gc/gc-record.ts';
import type { AcceptsPack, ChunkIndex } from '../index/chunk-index.ts';
import { type EncodedPoint, pointObjectName } from '../recovery-point.ts';
import type { RepositoryContext } from '../repository.ts';
import { putIfAbsent } from '../store-calls.ts';
import { ChunkWriter } from './chunk-writer.ts';
import {
  beginName,
  type CommittedEnd,
  encodeBegin,
  listSessions,
  readEndIfIntact,
  removeSession,
  renewalName,
  writeEnd,
} from './session-record.ts';

/** How often a session shows that it is alive. */
export const RENEWAL_INTERVAL_MS = 10 * 60_000;
/** Without a sign of life for this long, a session may be fenced. It decides when, never whether. */
export const LEASE_MS = 60 * 60_000;

const WRITER = 'the writer itself';

export interface SessionOptions {
  readonly context: RepositoryContext;
  readonly work: ChunkWork;
  readonly signal?: AbortSignal | undefined;
  readonly packSizeBytes?: number | undefined;
  /** What is stored is read again before anything refers to it. */
  readonly readsBack?: boolean | undefined;
}

export class Session {
  readonly id: string;
  readonly writer: ChunkWriter;
  readonly #store: ObjectStore;
  readonly #state: GcState;
  readonly #stopRenewing = new AbortController();

  private constructor(
    id: string,
    state: GcState,
    acceptsPack: AcceptsPack,
    options: SessionOptions,
  ) {
    const { context, work, signal, packSizeBytes, readsBack } = options;
    this.id = id;
    this.#store = context.store;
    this.#state = state;
    this.writer = new ChunkWriter({
      ...context,
      work,
      signal,
      packSizeBytes,
      readsBack,
      generation: state.generation,
      acceptsPack,
    });
    void this.#keepRenewing(context);
  }

  static async begin(options: SessionOptions): Promise<Session> {
    const { store, index } = options.context;
    for (;;) {
      options.signal?.throwIfAborted();
      const { id, state } = await enter(options.context);
      // A collection that waits for us, or has swept what we showed, took us for one of before it;
      // we would work as one of after it, which the next collection does not wait for.
      if (state.unfinished?.sessions.includes(id)) {
        await writeEnd(store, { session: id, outcome: 'fenced', by: WRITER });
        continue;
      }
      if (!(await store.stat(beginName(id)))) continue;
      const { objects } = await index.synchronize(store, options.signal);
      return new Session(id, state, acceptorIn(state, index, objects), options);
    }
  }

  /**
   * Which packs a writer of the session may rely on: not those that are condemned, or given
   * (hexadecimal). `objects` are the index objects that count.
   */
  acceptor(
    index: ChunkIndex,
    objects: ReadonlySet<string>,
    absent: ReadonlySet<string>,
  ): AcceptsPack {
    return acceptorIn(this.#state, index, objects, absent);
  }

  /** Packs (hexadecimal) that were condemned, and not swept, when the session began. */
  get condemned(): ReadonlySet<string> {
    return new Set(this.#state.unfinished?.packs);
  }

  /** The newest garbage collection when the session began. */
  get generation(): number {
    return this.#state.generation;
  }

  /**
   * True while a collection that the session does not hold up may still sweep. Then a chunk that an
   * existing point reaches need not stay: the point may be removed, and the chunk be condemned.
   */
  get isSweepAhead(): boolean {
    return this.#state.unfinished !== undefined;
  }

  /** Makes the points exist. Fails with `session-fenced` when a collection closed the session. */
  async commit(points: readonly EncodedPoint[]): Promise<void> {
    await this.writer.flush();
    this.#stopRenewing.abort();
    const end: CommittedEnd = {
      session: this.id,
      outcome: 'committed',
      generation: this.generation,
      points: points.map(({ id, item, bytes }) => ({ id, item, record: bytes.toString('base64') })),
    };
    const decided = await writeEnd(this.#store, end);
    if (decided.outcome === 'fenced') throw new CofferError('session-fenced', { by: decided.by });
    if (!(await listCommitted(this.#store, end))) throw new CofferError('session-fenced');
    await removeEnded(this.#store, this.id);
  }

  /** Gives up: what was written is garbage. */
  async abandon(): Promise<void> {
    this.#stopRenewing.abort();
    await writeEnd(this.#store, { session: this.id, outcome: 'fenced', by: WRITER });
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

/**
 * First the sign that we are here, then the look at what is condemned: a collection that we do not
 * see yet sees us.
 */
async function enter({
  store,
  random,
  clock,
}: RepositoryContext): Promise<{ id: string; state: GcState }> {
  const id = random.bytes(16).toString('hex');
  const startedAt = clock.now();
  const begin = { session: id, startedAt, host: hostname(), processId: process.pid };
  await store.put(beginName(id), encodeBegin(begin));
  return { id, state: await readGcState(store) };
}

function acceptorIn(
  { unfinished }: GcState,
  index: ChunkIndex,
  objects: ReadonlySet<string>,
  absent: ReadonlySet<string> = new Set(),
): AcceptsPack {
  const counting = unfinished
    ? new Set([...objects].filter((name) => willIndexObjectCount(name, unfinished)))
    : objects;
  return index.acceptor(counting, new Set([...absent, ...(unfinished?.packs ?? [])]));
}

/**
 * Lists the points of sessions that were committed and could not list them themselves. Everybody
 * who is about to write does this first. Ends that are damaged are told to `onDamaged`, or thrown.
 */
export async function finishCommittedSessions(
  store: ObjectStore,
  onDamaged?: (error: CofferError) => void,
): Promise<void> {
  if (store.capabilities.finishesSessions) return;
  for (const session of await listSessions(store)) {
    if (!session.hasEnd) continue;
    const end = await readEndIfIntact(store, session.session, onDamaged);
    if (end?.outcome !== 'committed' || !(await listCommitted(store, end))) continue;
    // Where nobody deletes, who collects garbage does it later, at the other end of the store.
    if (store.capabilities.deletes) await removeSession(store, session);
  }
}

/**
 * Lists the points, unless the store does. False when a sweep has passed over the session: it was
 * fenced, and its points do not exist.
 */
async function listCommitted(store: ObjectStore, end: CommittedEnd): Promise<boolean> {
  const state = await readGcState(store);
  const { generation } = end;
  for (const { id, item, record } of end.points) {
    if (!survives({ generation, id }, state)) return false;
    if (store.capabilities.finishesSessions) continue;
    await putIfAbsent(store, pointObjectName(item, generation, id), Buffer.from(record, 'base64'));
  }
  return true;
}

async function removeEnded(store: ObjectStore, id: string): Promise<void> {
  const { deletes, finishesSessions } = store.capabilities;
  if (!deletes || finishesSessions) return;
  const own = (await listSessions(store)).find(({ session }) => session === id);
  if (own) await removeSession(store, own);
}
