/**
 * A simulation by seed: writers, garbage collections, removals, copies, verifications and restores
 * at once, on several hosts with skewed clocks, over stores that fail, answer late and lose
 * processes at any point. When all is quiet, the invariants of PROTOCOL.md are checked.
 */
import {
  assert,
  type Clock,
  CofferError,
  isCofferError,
  type Random,
  seededRandom,
} from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { retrying } from '@coffer/storage/retrying.ts';
import { CrashedError } from '@coffer/storage/testing/faulty.ts';
import { inlineChunkPool } from '../chunk/chunk-work.ts';
import { SlabPool } from '../chunk/slab.ts';
import { newConfig } from '../config.ts';
import { writeConfig } from '../config-objects.ts';
import { copyPoints } from '../copy/copy.ts';
import { GC_PLAN_DEFAULTS } from '../gc/plan.ts';
import { collectGarbage } from '../gc/run.ts';
import { ChunkIndex } from '../index/chunk-index.ts';
import type { RepositoryKeys } from '../keys.ts';
import { encodePoint, type RecoveryPoint } from '../recovery-point.ts';
import { Repository, type UnlockedRepository } from '../repository.ts';
import { generateKeyPair } from '../sealed-box.ts';
import { diskLeaves, DiskTreeBuilder } from '../tree/disk-tree.ts';
import { verifyRepository } from '../verify/verify.ts';
import {
  replicatedPlace,
  type SimulatedPlace,
  type SimulatedStore,
  singlePlace,
} from './simulation-places.ts';
import { simulatedClock, type SimulatedClock } from './simulated-clock.ts';
import {
  BOTH,
  HOSTS,
  type SimulationHosts,
  SOURCE,
  TARGET,
  type Which,
} from './simulation-hosts.ts';
import { testProcesses } from './test-repository.ts';

const ACTIONS = 24;
/** So few different chunks that runs share most of them. */
const CHUNK_VARIETY = 40;
const CHUNKS_PER_POINT_MAX = 60;
const PACK_SIZE_BYTES = 4096;

/** What one seed did. */
export interface SimulationResult {
  readonly seed: number;
  readonly committed: number;
  readonly removed: number;
  readonly collections: number;
  readonly copied: number;
  readonly crashes: number;
  readonly failures: number;
  readonly pointsAtEnd: number;
}

export interface SimulationOptions {
  /** The repositories lie in stores over three units each. */
  readonly replicated?: boolean;
}

/** Runs one seed; throws when an invariant is broken. */
export async function simulate(
  seed: number,
  hosts: SimulationHosts,
  options: SimulationOptions = {},
): Promise<SimulationResult> {
  hosts.clear();
  try {
    return await new Simulation(seed, hosts, options).run();
  } finally {
    // Not before: a process that crashed may still be about to fail.
    await hosts.closeSingle();
  }
}

interface Expected {
  /** Ids of the chunks by content, as the writer chose them. */
  readonly contents: readonly number[];
}

class Simulation {
  readonly #seed: number;
  readonly #random: Random;
  readonly #clock: SimulatedClock;
  readonly #hosts: SimulationHosts;
  readonly #places: readonly SimulatedPlace[];
  readonly #keys: RepositoryKeys;
  /** What each point that may exist has to hold. */
  readonly #expected = new Map<string, Expected>();
  /**
   * Of each repository, the points that somebody asked to remove, perhaps before their writer knew
   * that it had committed.
   */
  readonly #unwanted = [new Set<string>(), new Set<string>()] as const;
  /** Of each repository, the points whose commit succeeded and that nobody asked to remove. */
  readonly #promised = [new Set<string>(), new Set<string>()] as const;
  readonly #counts = {
    committed: 0,
    removed: 0,
    collections: 0,
    copied: 0,
    crashes: 0,
    failures: 0,
  };

  constructor(seed: number, hosts: SimulationHosts, { replicated = false }: SimulationOptions) {
    this.#seed = seed;
    this.#random = seededRandom(seed);
    this.#clock = simulatedClock(1_800_000_000_000);
    this.#hosts = hosts;
    const place = replicated ? replicatedPlace : singlePlace;
    this.#places = BOTH.map(() => place({ clock: this.#clock, random: this.#random }));
    this.#keys = { ...generateKeyPair(this.#random), hashKey: this.#random.bytes(32) };
  }

  async run(): Promise<SimulationResult> {
    for (const place of this.#places) await place.begin();
    for (const { quiet } of this.#places) {
      const config = newConfig({
        ...this.#keys,
        createdAt: this.#clock.now(),
        random: this.#random,
      });
      await writeConfig(quiet, config);
    }
    const actions: Promise<void>[] = [];
    for (let action = 0; action < ACTIONS; action++) {
      const act = this.#act();
      // Thrown below, once all have ended; until then it must not count as unhandled.
      act.catch(() => {});
      actions.push(act);
      await this.#clock.sleep(this.#random.fraction() * 20_000);
    }
    await Promise.all(actions);
    await this.#settle();
    const pointsAtEnd = await this.#checkInvariants();
    return { seed: this.#seed, ...this.#counts, pointsAtEnd };
  }

  /** One process on one host: it does one thing, and may crash in the midst of it. */
  async #act(): Promise<void> {
    const host = Math.floor(this.#random.fraction() * HOSTS);
    const skewMs = Math.floor((this.#random.fraction() - 0.5) * 4 * 3_600_000);
    const stores = this.#places.map((place) => place.open());
    const mayCrash = this.#random.fraction() < 0.35;
    if (mayCrash) void this.#crashLater(stores);
    try {
      await this.#choose(host, stores, skewed(this.#clock, skewMs));
    } catch (error) {
      if (error instanceof CrashedError) return;
      if (!(error instanceof CofferError) || !ALLOWED_FAILURES.has(error.code)) throw error;
      this.#counts.failures++;
    }
  }

  async #crashLater(stores: readonly { crash(): void }[]): Promise<void> {
    await this.#clock.sleep(this.#random.fraction() * 15_000);
    this.#counts.crashes++;
    for (const store of stores) store.crash();
  }

  async #choose(host: number, stores: readonly SimulatedStore[], clock: Clock): Promise<void> {
    const dice = this.#random.fraction();
    for (const each of stores) await each.maintain();
    const open = (which: Which): Promise<UnlockedRepository> =>
      this.#open(host, which, stores[which]!.store, clock);
    if (dice < 0.38) await this.#write(await open(SOURCE));
    else if (dice < 0.56) await this.#collect(await open(SOURCE));
    else if (dice < 0.68) await this.#remove(await open(SOURCE), SOURCE);
    else if (dice < 0.76) await this.#restoreOne(await open(SOURCE), SOURCE);
    else if (dice < 0.86) await this.#copy(await open(SOURCE), await open(TARGET));
    else if (dice < 0.93) await this.#collect(await open(TARGET));
    else if (dice < 0.97) await this.#remove(await open(TARGET), TARGET);
    else await this.#restoreOne(await open(TARGET), TARGET);
  }

  async #open(
    host: number,
    which: Which,
    store: ObjectStore,
    clock: Clock,
  ): Promise<UnlockedRepository> {
    const tried = retrying(store, { attemptsMax: 4, delayMs: 100, clock, random: this.#random });
    return await this.#openOver(tried, this.#hosts.indexFor(host, which, this.#random), clock);
  }

  async #openOver(
    store: ObjectStore,
    index: ChunkIndex,
    clock: Clock,
  ): Promise<UnlockedRepository> {
    const random = this.#random;
    const repository = await Repository.open({
      store,
      index,
      clock,
      random,
      processes: testProcesses,
      chunkPool: inlineChunkPool(random),
      packSizeBytes: PACK_SIZE_BYTES,
    });
    return repository.unlockWith(this.#keys);
  }

  async #write(repository: UnlockedRepository): Promise<void> {
    const session = await repository.beginSession();
    try {
      const contents = this.#chooseContents();
      const slabs = new SlabPool(1, 64 * 1024);
      const tree = new DiskTreeBuilder(contents.length * DISK_CHUNK, (children, body) =>
        session.writer.writeNode(children, body),
      );
      for (const content of contents) {
        const id = await slabs.use(async (slab) => {
          const bytes = chunkOf(content);
          bytes.copy(slab.bytes);
          return (await session.writer.write(slab, [{ offset: 0, length: bytes.length }]))[0]!;
        });
        await tree.add(id);
        // A long run, now and then, that others overtake.
        if (this.#random.fraction() < 0.02)
          await this.#clock.sleep(this.#random.fraction() * 5_000_000);
      }
      const root = await tree.finish();
      const point = encodePoint(
        {
          item: `item-${Math.floor(this.#random.fraction() * 3)}`,
          kind: 'disk',
          takenAt: repository.clock.now(),
          roots: [
            { name: 'disk', root: root.toString('hex'), sizeBytes: contents.length * DISK_CHUNK },
          ],
          tags: {},
        },
        {},
        { ...this.#keys, random: this.#random },
      );
      this.#expected.set(point.id, { contents });
      await session.commit([point]);
      this.#promise(point.id, SOURCE);
      this.#counts.committed++;
    } catch (error) {
      if (!(error instanceof CrashedError)) await session.abandon().catch(() => {});
      throw error;
    }
  }

  #promise(id: string, which: Which): void {
    if (!this.#unwanted[which].has(id)) this.#promised[which].add(id);
  }

  #chooseContents(): number[] {
    const size = 1 + Math.floor(this.#random.fraction() * CHUNKS_PER_POINT_MAX);
    return Array.from({ length: size }, () => Math.floor(this.#random.fraction() * CHUNK_VARIETY));
  }

  async #collect(repository: UnlockedRepository): Promise<void> {
    // So little waste is allowed that packs are emptied and moved at every turn.
    const plan = { ...GC_PLAN_DEFAULTS, wasteMax: 0.01, smallPackBytes: 1024, smallPacksMax: 2 };
    const { outcome } = await collectGarbage({ repository, plan });
    if (outcome === 'done') this.#counts.collections++;
  }

  async #remove(repository: UnlockedRepository, which: Which): Promise<void> {
    const points = await repository.points();
    const point = points[Math.floor(this.#random.fraction() * points.length)];
    if (!point) return;
    this.#promised[which].delete(point.id);
    this.#unwanted[which].add(point.id);
    await repository.removePoint(point);
    this.#counts.removed++;
  }

  async #restoreOne(repository: UnlockedRepository, which: Which): Promise<void> {
    const points = await repository.points();
    const point = points[Math.floor(this.#random.fraction() * points.length)];
    if (!point) return;
    await repository.index.synchronize(repository.store);
    try {
      await this.#restore(repository, point);
    } catch (error) {
      // The point may have been removed, and its chunks swept, while it was read.
      const isGone = isCofferError(error, 'chunk-missing') && !this.#promised[which].has(point.id);
      if (!isGone) throw error;
    }
  }

  async #copy(source: UnlockedRepository, target: UnlockedRepository): Promise<void> {
    const { pointsCopied } = await copyPoints({ source, target, isWanted: () => true });
    for (const id of pointsCopied) this.#promise(id, TARGET);
    this.#counts.copied += pointsCopied.length;
  }

  /** Reads a point whole and compares it with what was written. */
  async #restore(repository: UnlockedRepository, point: RecoveryPoint): Promise<void> {
    const expected = this.#expected.get(point.id);
    assert(expected !== undefined, 'only points that somebody wrote exist');
    const reader = repository.reader();
    const [root] = point.roots;
    assert(root !== undefined, 'a point has a root');
    const source = { root: Buffer.from(root.root, 'hex'), sizeBytes: root.sizeBytes };
    let index = 0;
    for await (const { ids } of diskLeaves(reader, source)) {
      for (const id of ids ?? []) {
        const content = expected.contents[index++];
        const plain = await reader.readData(id);
        assert(
          content !== undefined && plain.equals(chunkOf(content)),
          'a restore is what was written',
        );
      }
    }
    assert(index === expected.contents.length, 'a restore is whole');
  }

  /** Lets everything late arrive and every lease expire; then collects until nothing is left to do. */
  async #settle(): Promise<void> {
    await this.#clock.sleep(24 * 3_600_000);
    for (const place of this.#places) await place.settle();
    for (const which of BOTH) {
      const repository = await this.#quiet(which);
      for (let round = 0; round < 5; round++) await this.#collect(repository);
    }
  }

  async #quiet(which: Which): Promise<UnlockedRepository> {
    return await this.#openOver(
      this.#places[which]!.quiet,
      this.#hosts.shared(0, which),
      this.#clock,
    );
  }

  async #checkInvariants(): Promise<number> {
    let total = 0;
    for (const which of BOTH) {
      const repository = await this.#quiet(which);
      const result = await verifyRepository({ repository, readFraction: 1 });
      assert(
        result.findings.length === 0,
        `all that points reach is stored: ${JSON.stringify(result.findings.slice(0, 3))}`,
      );
      const points = await repository.points();
      for (const point of points) await this.#restore(repository, point);
      total += points.length;
      this.#checkPromises(points, which);
      await checkGarbage(repository);
    }
    return total;
  }

  #checkPromises(points: readonly RecoveryPoint[], which: Which): void {
    const present = new Set(points.map(({ id }) => id));
    for (const id of this.#promised[which])
      assert(present.has(id), `a committed point exists: ${id}`);
  }
}

const DISK_CHUNK = 256 * 1024;

/** How a process may fail: the store did, or somebody else was faster. */
const ALLOWED_FAILURES: ReadonlySet<string> = new Set([
  'store-unavailable',
  'session-fenced',
  'gc-superseded',
]);

/** After collections that had nothing to wait for, nothing but live data is left. */
async function checkGarbage(repository: UnlockedRepository): Promise<void> {
  const packs = [...repository.index.packs()];
  const indexed = new Set(packs.map(({ pack }) => pack.toString('hex')));
  const entryCount = packs.reduce((sum, pack) => sum + pack.entryCount, 0);
  assert(repository.index.chunkCount <= entryCount, 'the index has forgotten what is gone');
  for await (const { name } of repository.store.list('packs/')) {
    assert(indexed.has(name.slice(name.lastIndexOf('/') + 1)), `no pack is forgotten: ${name}`);
  }
  for await (const { name } of repository.store.list('sessions/')) {
    assert(false, `no session is forgotten: ${name}`);
  }
}

function chunkOf(content: number): Buffer {
  // Random content does not compress, so that packs fill up.
  return seededRandom(content + 1).bytes(100 + content * 10);
}

function skewed(clock: Clock, skewMs: number): Clock {
  return {
    now: () => clock.now() + skewMs,
    sleep: (durationMs, signal) => clock.sleep(durationMs, signal),
  };
}
