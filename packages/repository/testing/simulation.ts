/**
 * A simulation by seed: writers, jobs that are tried again, garbage collections, removals, copies, verifications and restores
 * at once, on several hosts with skewed clocks, over stores that fail, answer late and lose
 * processes at any point; and with the adversary of the seed: storage that is set back, loses a part
 * of what it had or is cloned, or somebody who forges. When all is quiet, the invariants of
 * PROTOCOL.md are checked (`simulation-end.ts`).
 */
import {
  assert,
  type Clock,
  CofferError,
  isCofferError,
  type Processes,
  type Random,
  seededRandom,
} from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { retrying } from '@coffer/storage/retrying.ts';
import { CrashedError } from '@coffer/storage/testing/faulty.ts';
import { inlineChunkPool } from '../chunk/chunk-work.ts';
import { newConfig } from '../config.ts';
import { writeConfig } from '../config-objects.ts';
import { copyPoints } from '../copy/copy.ts';
import { collectGarbage } from '../gc/run.ts';
import type { ChunkIndex } from '../index/chunk-index.ts';
import type { RepositoryKeys } from '../keys.ts';
import type { EncodedPoint, RecoveryPoint } from '../recovery-point.ts';
import { Repository, type UnlockedRepository } from '../repository.ts';
import { generateKeyPair } from '../sealed-box.ts';
import type { Session } from '../session/session.ts';
import { checkRestore, chooseContents, type Expected, writeContents } from './simulated-content.ts';
import { SimulatedForger } from './simulated-forger.ts';
import { SimulatedJobs } from './simulated-jobs.ts';
import { SimulatedProcesses } from './simulated-processes.ts';
import { SimulatedStorage, type StorageState } from './simulated-storage.ts';
import { simulatedClock, type SimulatedClock } from './simulated-clock.ts';
import { EAGER_PLAN, SimulationEnd } from './simulation-end.ts';
import type { SimulatedStore } from './simulation-places.ts';
import {
  CLONE,
  HOSTS,
  type SimulationHosts,
  SOURCE,
  TARGET,
  type Which,
} from './simulation-hosts.ts';

const ACTIONS = 24;
const PACK_SIZE_BYTES = 4096;

export const ADVERSARIES = ['none', 'set-back', 'loss', 'clone', 'forger'] as const;
export type Adversary = (typeof ADVERSARIES)[number];

/** What one seed did. */
export interface SimulationResult {
  readonly committed: number;
  /** Attempts of jobs that had their result already. */
  readonly jobsFound: number;
  readonly removed: number;
  readonly collections: number;
  readonly copied: number;
  readonly crashes: number;
  readonly failures: number;
  /** What the adversary did. */
  readonly blows: number;
  /** Points that missed something in the end, as the adversary entitles them to. */
  readonly damaged: number;
  readonly pointsAtEnd: number;
}

export interface SimulationOptions {
  /** By default that of the seed's turn, and `none` over units. */
  readonly adversary?: Adversary | undefined;
  /** The repositories lie in stores over three units each; with the adversary `none` only. */
  readonly replicated?: boolean;
}

/** Runs one seed; throws when an invariant is broken. */
export async function simulate(
  seed: number,
  hosts: SimulationHosts,
  options: SimulationOptions = {},
): Promise<SimulationResult> {
  const { replicated = false } = options;
  const inTurn = ADVERSARIES[seed % ADVERSARIES.length]!;
  const adversary = options.adversary ?? (replicated ? 'none' : inTurn);
  assert(!replicated || adversary === 'none', 'adversaries play over single stores only');
  hosts.clear();
  const simulation = new Simulation(seed, hosts, { adversary, replicated });
  try {
    return await simulation.run();
  } finally {
    simulation.end();
    // Not before: a process that crashed may still be about to fail.
    await hosts.closeSingle();
  }
}

/** What is written in a session. */
interface WritingRun {
  readonly repository: UnlockedRepository;
  readonly which: Which;
  readonly givesUpShare: number;
  readonly onCommit?: (id: string) => void;
}

/** One process while it runs. */
interface Running {
  readonly host: number;
  readonly clock: Clock;
  readonly stores: readonly SimulatedStore[];
  readonly processes: Processes;
}

class Simulation {
  readonly #random: Random;
  readonly #clock: SimulatedClock;
  readonly #hosts: SimulationHosts;
  readonly #adversary: Adversary;
  readonly #processes = new SimulatedProcesses();
  /** The source, the target, and what the clone becomes, where there may be one. */
  readonly #storages: readonly SimulatedStorage[];
  readonly #forgers: readonly SimulatedForger[];
  readonly #jobs: SimulatedJobs;
  #isCloned = false;
  #remembered: readonly StorageState[] = [];
  readonly #keys: RepositoryKeys;
  /** What each point that may exist has to hold. */
  readonly #expected = new Map<string, Expected>();
  readonly #counts = {
    committed: 0,
    jobsFound: 0,
    removed: 0,
    collections: 0,
    copied: 0,
    crashes: 0,
    failures: 0,
    blows: 0,
  };

  constructor(
    seed: number,
    hosts: SimulationHosts,
    { adversary, replicated }: { readonly adversary: Adversary; readonly replicated: boolean },
  ) {
    this.#random = seededRandom(seed);
    this.#clock = simulatedClock(1_800_000_000_000);
    this.#hosts = hosts;
    this.#adversary = adversary;
    const [random, clock] = [this.#random, this.#clock];
    const reachedBy = (id: string): ReadonlySet<string> => this.#expected.get(id)!.reached;
    const all = replicated ? [SOURCE, TARGET] : [SOURCE, TARGET, CLONE];
    this.#storages = all.map(() => new SimulatedStorage({ clock, random, replicated, reachedBy }));
    this.#keys = { ...generateKeyPair(this.#random), hashKey: this.#random.bytes(32) };
    this.#jobs = new SimulatedJobs(random);
    const { publicKey } = this.#keys;
    this.#forgers = this.#storages.map(
      ({ place }) => new SimulatedForger(place.quiet, random, publicKey),
    );
  }

  /** What goes on by itself would keep the process alive. */
  end(): void {
    for (const { place } of this.#storages) place.end();
  }

  async run(): Promise<SimulationResult> {
    for (const { place } of this.#storages) await place.begin();
    for (const which of [SOURCE, TARGET]) {
      const { quiet } = this.#storages[which]!.place;
      const createdAt = this.#clock.now();
      await writeConfig(quiet, newConfig({ ...this.#keys, createdAt, random: this.#random }));
    }
    const actions: Promise<void>[] = [];
    for (let action = 0; action < ACTIONS; action++) {
      const act = this.#act();
      // Thrown below, once all have ended; until then it must not count as unhandled.
      act.catch(() => {});
      actions.push(act);
      if (this.#random.fraction() < 0.15) await this.#strike();
      await this.#clock.sleep(this.#random.fraction() * 20_000);
    }
    await Promise.all(actions);
    // Everything late arrives, and every lease expires.
    await this.#clock.sleep(24 * 3_600_000);
    if (this.#random.fraction() < 0.5) await this.#strike();
    await this.#clock.sleep(24 * 3_600_000);
    for (const { place } of this.#storages) await place.settle();
    const { pointsAtEnd, damaged } = await this.#end();
    return { ...this.#counts, damaged, pointsAtEnd };
  }

  async #end(): Promise<{ pointsAtEnd: number; damaged: number }> {
    let [pointsAtEnd, damaged] = [0, 0];
    const used: readonly Which[] = this.#isCloned ? [SOURCE, TARGET, CLONE] : [SOURCE, TARGET];
    for (const which of used) {
      const end = new SimulationEnd({
        storage: this.#storages[which]!,
        expected: this.#expected,
        mayBeDamaged: (id) => this.#mayBeDamaged(id, which),
        isStruck: !['none', 'clone'].includes(this.#adversary),
        open: async () => await this.#quiet(which),
        random: this.#random,
      });
      const result = await end.check();
      if (this.#adversary === 'none') await this.#checkJobs(which);
      pointsAtEnd += result.points;
      damaged += result.damaged;
    }
    return { pointsAtEnd, damaged };
  }

  async #checkJobs(which: Which): Promise<void> {
    const points = await (await this.#quiet(which)).points();
    this.#jobs.check(new Set(points.map(({ id }) => id)));
  }

  /** What was found stored under a forged id may be forged; a copy takes from both repositories. */
  #mayBeDamaged(id: string, which: Which): boolean {
    const { excused, lossCount } = this.#storages[which]!;
    // A copy may be built on a point that has lost something since.
    if (excused.has(id) || (which === TARGET && lossCount > 0)) return true;
    const { reached, forgedBefore } = this.#expected.get(id)!;
    const forgers = which === TARGET ? this.#forgers : [this.#forgers[which]!];
    return forgers.some(({ forged }) =>
      [...reached].some(
        (chunk) => (forged.has(chunk) && which === TARGET) || forgedBefore.has(chunk),
      ),
    );
  }

  /** The adversary does its worst, in one moment. */
  async #strike(): Promise<void> {
    const which = this.#random.fraction() < 0.7 ? SOURCE : TARGET;
    const storage = this.#storages[which]!;
    if (this.#adversary === 'none' || (this.#adversary === 'clone' && this.#isCloned)) return;
    this.#counts.blows++;
    if (this.#adversary === 'forger') await this.#forgers[which]!.forge();
    if (this.#adversary === 'loss') this.#lose(storage);
    if (this.#adversary === 'set-back') this.#setBackOrRemember();
    if (this.#adversary === 'clone') {
      this.#isCloned = true;
      this.#storages[CLONE]!.become(this.#storages[SOURCE]!);
    }
  }

  /** Storages are set back each to a state of its own, or both are remembered as they are. */
  #setBackOrRemember(): void {
    const which = this.#random.fraction() < 0.7 ? SOURCE : TARGET;
    const state = this.#remembered[which];
    if (state && this.#random.fraction() < 0.6) this.#storages[which]!.setBackTo(state);
    else this.#remembered = this.#storages.map((storage) => storage.state());
  }

  /** Some objects of one kind. */
  #lose(storage: SimulatedStorage): void {
    const kinds = [/^packs\//, /^index\//, /^points\//, /^sessions\/.*-begin$/];
    const kind = kinds[Math.floor(this.#random.fraction() * kinds.length)]!;
    const share = this.#random.fraction();
    storage.lose((name) => kind.test(name) && this.#random.fraction() < share);
  }

  /** One process on one host: it does one thing, and may crash in the midst of it. */
  async #act(): Promise<void> {
    const host = Math.floor(this.#random.fraction() * HOSTS);
    const skewMs = Math.floor((this.#random.fraction() - 0.5) * 4 * 3_600_000);
    const stores = this.#storages.map(({ place }) => place.open());
    const started = this.#processes.start(host);
    const crash = (): void => {
      started.end();
      for (const store of stores) store.crash();
    };
    if (this.#random.fraction() < 0.35) void this.#crashLater(crash);
    const clock = skewed(this.#clock, skewMs);
    await this.#tolerate(
      async () => await this.#choose({ host, stores, clock, processes: started.processes }),
    );
    started.end();
  }

  /** How a process may fail is part of the contract. */
  async #tolerate(task: () => Promise<void>): Promise<void> {
    try {
      await task();
    } catch (error) {
      if (error instanceof CrashedError) return;
      const allowed = ALLOWED_FAILURES[this.#adversary];
      if (!(error instanceof CofferError) || !allowed.includes(error.code)) throw error;
      this.#counts.failures++;
    }
  }

  async #crashLater(crash: () => void): Promise<void> {
    await this.#clock.sleep(this.#random.fraction() * 15_000);
    this.#counts.crashes++;
    crash();
  }

  async #choose(running: Running): Promise<void> {
    const dice = this.#random.fraction();
    for (const each of running.stores) await each.maintain();
    // Nobody knows which of the two is the clone.
    const source = this.#isCloned && this.#random.fraction() < 0.5 ? CLONE : SOURCE;
    const open = (which: Which): Promise<UnlockedRepository> => this.#open(which, running);
    if (dice < 0.18) await this.#write(await open(source), source);
    else if (dice < 0.32) await this.#tryJob(await open(source), source);
    else if (dice < 0.39) await this.#writeTwo(await open(source), source);
    else if (dice < 0.56) await this.#collect(await open(source));
    else if (dice < 0.68) await this.#remove(await open(source), source);
    else if (dice < 0.76) await this.#restoreOne(await open(source), source);
    else if (dice < 0.86) await this.#copy(await open(source), await open(TARGET));
    else if (dice < 0.93) await this.#collect(await open(TARGET));
    else if (dice < 0.97) await this.#remove(await open(TARGET), TARGET);
    else await this.#restoreOne(await open(TARGET), TARGET);
  }

  async #open(which: Which, running: Running): Promise<UnlockedRepository> {
    const { host, stores, clock, processes } = running;
    const random = this.#random;
    const patience = { attemptsMax: 4, delayMs: 100, clock, random };
    const store = retrying(stores[which]!.store, patience);
    const index = this.#hosts.indexFor(host, which, random);
    return await this.#openOver({ store, index, clock, processes });
  }

  async #openOver(options: {
    readonly store: ObjectStore;
    readonly index: ChunkIndex;
    readonly clock: Clock;
    readonly processes: Processes;
  }): Promise<UnlockedRepository> {
    const random = this.#random;
    const { clock, ...place } = options;
    const chunkPool = inlineChunkPool(random);
    const packSizeBytes = PACK_SIZE_BYTES;
    const run = testRun({ clock, random });
    const repository = await Repository.open(run, { ...place, chunkPool, packSizeBytes });
    return repository.unlockWith(this.#keys);
  }

  async #quiet(which: Which): Promise<UnlockedRepository> {
    const { quiet } = this.#storages[which]!.place;
    const { processes } = this.#processes.start(0);
    const index = this.#hosts.shared(0, which);
    return await this.#openOver({ store: quiet, index, clock: this.#clock, processes });
  }

  /** Two runs in one process and repository; each may fail and leave the other one alone. */
  async #writeTwo(repository: UnlockedRepository, which: Which): Promise<void> {
    const runs = [1, 2].map(() => this.#tolerate(() => this.#write(repository, which, 0.3)));
    const ended = await Promise.allSettled(runs);
    for (const each of ended) if (each.status === 'rejected') throw each.reason;
  }

  async #write(repository: UnlockedRepository, which: Which, givesUpShare = 0): Promise<void> {
    const session = await repository.beginSession();
    await this.#writeIn(session, { repository, which, givesUpShare });
  }

  /** Jobs are told apart from what an adversary does only where there is none. */
  async #tryJob(repository: UnlockedRepository, which: Which): Promise<void> {
    const attempt = this.#jobs.next();
    const { key } = attempt;
    const begun = await repository.beginAttempt(attempt);
    const isSure = this.#adversary === 'none';
    if (begun.outcome === 'committed') {
      this.#counts.jobsFound++;
      if (isSure) this.#jobs.announce(key, begun.result.points);
      return;
    }
    const onCommit = (id: string): void => this.#jobs.commits(key, id);
    const run = { repository, which, givesUpShare: 0.2, onCommit };
    const point = await this.#writeIn(begun.session, run);
    if (point && isSure) this.#jobs.announce(key, [point]);
  }

  /** Undefined when it gave up. */
  async #writeIn(session: Session, run: WritingRun): Promise<EncodedPoint | undefined> {
    const { repository, which, givesUpShare, onCommit } = run;
    const storage = this.#storages[which]!;
    const forgedBefore = new Set<string>();
    try {
      const contents = chooseContents(this.#random);
      const written = await writeContents(repository, session, contents, () => this.#dawdle());
      if (this.#random.fraction() < givesUpShare) {
        await session.abandon();
        return undefined;
      }
      for (const id of this.#forgers[which]!.forged) forgedBefore.add(id);
      const { id } = written.point;
      this.#expected.set(id, { ...written, forgedBefore });
      onCommit?.(id);
      // Once it is there, it may be copied.
      for (const each of this.#storages) each.committing.add(id);
      const { lossCount } = storage;
      await session.commit([written.point]);
      this.#counts.committed++;
      if (storage.lossCount === lossCount) storage.promise(id);
      else storage.excused.add(id);
      return written.point;
    } catch (error) {
      if (!(error instanceof CrashedError)) await session.abandon().catch(() => {});
      throw error;
    }
  }

  /** A long run, now and then, that others overtake. */
  async #dawdle(): Promise<void> {
    if (this.#random.fraction() >= 0.02) return;
    await this.#clock.sleep(this.#random.fraction() * 5_000_000);
  }

  async #collect(repository: UnlockedRepository): Promise<void> {
    const { outcome } = await collectGarbage({ repository, plan: EAGER_PLAN });
    if (outcome === 'done') this.#counts.collections++;
  }

  async #points(repository: UnlockedRepository): Promise<RecoveryPoint[]> {
    const onDamaged = (error: CofferError): void => {
      if (this.#adversary !== 'forger') throw error;
    };
    return await repository.points({ onDamaged });
  }

  async #oneOf(repository: UnlockedRepository): Promise<RecoveryPoint | undefined> {
    const points = await this.#points(repository);
    return points[Math.floor(this.#random.fraction() * points.length)];
  }

  async #remove(repository: UnlockedRepository, which: Which): Promise<void> {
    const point = await this.#oneOf(repository);
    if (!point) return;
    this.#storages[which]!.promised.delete(point.id);
    this.#storages[which]!.unwanted.add(point.id);
    await repository.removePoint(point);
    this.#counts.removed++;
  }

  async #restoreOne(repository: UnlockedRepository, which: Which): Promise<void> {
    const point = await this.#oneOf(repository);
    if (!point) return;
    const expected = this.#expected.get(point.id);
    assert(expected !== undefined, 'only points that somebody wrote exist');
    await repository.index.synchronize(repository.store);
    try {
      await checkRestore(repository, point, expected);
    } catch (error) {
      const { promised, lossCount } = this.#storages[which]!;
      // The point may have been removed, and its chunks swept, while it was read.
      const isGone = isCofferError(error, 'chunk-missing') && !promised.has(point.id);
      const isDamaged = lossCount > 0 || this.#isCloned || this.#mayBeDamaged(point.id, which);
      if (!isGone && !(isCofferError(error) && isDamaged)) throw error;
    }
  }

  async #copy(source: UnlockedRepository, target: UnlockedRepository): Promise<void> {
    const storage = this.#storages[TARGET]!;
    const { lossCount } = storage;
    const one = this.#random.fraction() < 0.5 ? await this.#oneOf(source) : undefined;
    const wanted = one ? { points: [one] } : { isWanted: () => true };
    const { pointsCopied } = await copyPoints({ source, target, ...wanted });
    this.#counts.copied += pointsCopied.length;
    for (const id of pointsCopied) {
      if (storage.lossCount === lossCount) storage.promise(id);
      else storage.excused.add(id);
    }
  }
}

/** The store failed, or somebody else was faster. */
const FAILURES = ['store-unavailable', 'session-fenced', 'gc-superseded'];
/** What is lost or forged is told of. */
const DAMAGES = [
  'repository-damaged',
  'chunk-missing',
  'chunk-damaged',
  'object-damaged',
  'object-not-found',
];

const STRUCK = [...FAILURES, ...DAMAGES, 'store-rolled-back'];

const ALLOWED_FAILURES: Readonly<Record<Adversary, readonly string[]>> = {
  none: FAILURES,
  // Who reads by a cache that the other one's processes change may look in vain.
  clone: STRUCK,
  forger: STRUCK,
  loss: STRUCK,
  'set-back': STRUCK,
};

function skewed(clock: Clock, skewMs: number): Clock {
  return {
    now: () => clock.now() + skewMs,
    sleep: (durationMs, signal) => clock.sleep(durationMs, signal),
  };
}
