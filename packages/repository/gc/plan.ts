/** Decides what a garbage collection does. Pure: the plan is what `--dry-run` prints. */

export interface PackFacts {
  /** Hexadecimal name. */
  readonly pack: string;
  readonly sizeBytes: number;
  readonly entryCount: number;
  readonly liveCount: number;
  readonly liveBytes: number;
}

export interface GcPlanOptions {
  /** Dead bytes that may stay in packs, as a part of all bytes: moving data for less is not worth it. */
  readonly wasteMax: number;
  /** Packs smaller than this are joined, once there are many of them. */
  readonly smallPackBytes: number;
  readonly smallPacksMax: number;
  /** A collection condemns no more packs at a time; the next one goes on. */
  readonly packsMax: number;
}

export const GC_PLAN_DEFAULTS: GcPlanOptions = {
  wasteMax: 0.05,
  smallPackBytes: 8 * 1024 * 1024,
  smallPacksMax: 32,
  packsMax: 100_000,
};

export interface GcPlan {
  /** Packs without a live chunk. */
  readonly remove: readonly string[];
  /** Packs whose live chunks are moved to new packs first. */
  readonly repack: readonly string[];
  readonly packsKept: number;
  readonly bytesTotal: number;
  readonly bytesFreed: number;
  readonly bytesMoved: number;
  /** Dead bytes that stay. */
  readonly bytesWasted: number;
}

export function planGc(
  packs: readonly PackFacts[],
  options: GcPlanOptions = GC_PLAN_DEFAULTS,
): GcPlan {
  const dead = packs.filter(({ liveCount }) => liveCount === 0).slice(0, options.packsMax);
  const alive = packs.filter(({ liveCount }) => liveCount > 0);
  const bytesTotal = sum(packs.map(({ sizeBytes }) => sizeBytes));
  const wasteAllowed = options.wasteMax * sum(alive.map(({ sizeBytes }) => sizeBytes));
  const repack = chooseRepacked(alive, wasteAllowed, options.packsMax - dead.length);
  const joined = chooseSmall(alive, repack, options, options.packsMax - dead.length);
  for (const pack of joined) repack.add(pack);
  const moved = [...repack];
  const kept = alive.filter((pack) => !repack.has(pack));
  const bytesMoved = sum(moved.map(({ liveBytes }) => liveBytes));
  return {
    remove: dead.map(({ pack }) => pack),
    repack: moved.map(({ pack }) => pack),
    packsKept: kept.length,
    bytesTotal,
    bytesFreed: sum([...dead, ...moved].map(({ sizeBytes }) => sizeBytes)) - bytesMoved,
    bytesMoved,
    bytesWasted: sum(kept.map(wasteOf)),
  };
}

/** Packs with the largest part of waste first, until what is left is little enough. */
function chooseRepacked(
  alive: readonly PackFacts[],
  wasteAllowed: number,
  packsMax: number,
): Set<PackFacts> {
  const wasteful = alive
    .filter(({ liveCount, entryCount }) => liveCount < entryCount)
    .sort((a, b) => wasteOf(b) / b.sizeBytes - wasteOf(a) / a.sizeBytes);
  let waste = sum(wasteful.map(wasteOf));
  const chosen = new Set<PackFacts>();
  for (const pack of wasteful) {
    if (waste <= wasteAllowed || chosen.size >= packsMax) break;
    chosen.add(pack);
    waste -= wasteOf(pack);
  }
  return chosen;
}

function chooseSmall(
  alive: readonly PackFacts[],
  repack: ReadonlySet<PackFacts>,
  { smallPackBytes, smallPacksMax }: GcPlanOptions,
  packsMax: number,
): readonly PackFacts[] {
  const small = alive.filter((pack) => pack.sizeBytes < smallPackBytes && !repack.has(pack));
  return small.length > smallPacksMax ? small.slice(0, Math.max(0, packsMax - repack.size)) : [];
}

/** Dead bytes of a pack, its footer not counted. */
function wasteOf({ sizeBytes, liveBytes, liveCount, entryCount }: PackFacts): number {
  return liveCount === entryCount ? 0 : sizeBytes - liveBytes;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
