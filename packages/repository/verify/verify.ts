/**
 * Verification. Without reading data: all records decode, and all that points reach is known to the
 * index and lies in packs that are there with their size. With reading: packs are what their names
 * promise, and index objects describe them as they are, which needs no key; with a key, every chunk
 * of every pack that is read is opened.
 */
import {
  collecting,
  CofferError,
  type Finding,
  findingOf,
  mapBounded,
  type RunContext,
  tellDone,
  tellFinding,
  tellPhase,
  tellTotal,
} from '@coffer/base';
import { type ChunkId, idKey } from '../chunk/chunk-id.ts';
import { RecordReader } from '../chunk/record-reader.ts';
import type { AcceptsPack, IndexedPack } from '../index/chunk-index.ts';
import type { Location } from '../index/location.ts';
import { LiveSet, type LiveSetOptions, Wholeness } from '../reach/live-set.ts';
import { packObjectName } from '../pack/pack-codec.ts';
import { StoredPacks } from '../pack/stored-packs.ts';
import type { RecoveryPoint } from '../recovery-point.ts';
import type { Repository } from '../repository.ts';
import { checkIndexObjects } from './check-index.ts';
import { checkRecords } from './check-records.ts';
import {
  type NamedPack,
  namedPacks,
  PackCheck,
  type PackCheckResult,
  PACKS_AT_ONCE,
} from './pack-check.ts';

export interface VerifyOptions {
  readonly repository: Repository;
  /** Only these points; all of them when undefined. */
  readonly points?: readonly RecoveryPoint[] | undefined;
  /** Which part of the packs is read, from 0 to 1. */
  readonly readFraction: number;
}

export interface VerifyResult {
  readonly points: number;
  readonly chunks: number;
  readonly packs: number;
  readonly packsRead: number;
  readonly bytesRead: number;
  /** Points that cannot be restored whole. */
  readonly pointsDamaged: readonly string[];
  readonly findings: readonly Finding[];
}

export async function verifyRepository(options: VerifyOptions): Promise<VerifyResult> {
  const { repository } = options;
  const { store, index } = repository;
  const { run, findings } = collecting(repository.run);
  tellPhase(run, 'check-records');
  await checkRecords(run, repository);
  // Points first: what is listed then, the index objects that are read afterwards know.
  const onDamaged = (error: CofferError): void => tellObject(run, 'points', error);
  const all = await repository.points({ onDamaged, deleted: true });
  const points = options.points ?? all;
  const { damaged: unreadable, objects } = await index.synchronize(store);
  const stored = await StoredPacks.list(store);
  const lying = await lyingObjects(run, options, { stored, unreadable });
  const counting = new Set([...objects].filter((name) => !lying.has(name)));
  const { signal } = run;
  const records = new RecordReader({ store, index, signal });
  const walk = { index, records, accepts: index.acceptor(counting), signal };
  tellPhase(run, 'walk-trees');
  const walked = await walkTrees(run, walk, points);
  const reachable = new Set(walked.live.entries.packs());
  const packs = namedPacks(index).filter(
    ({ pack }) => !options.points || reachable.has(pack.toString('hex')),
  );
  tellPhase(run, 'read-packs');
  const checked = await checkPacks(run, options, { packs, stored });
  const isDamaged = !walked.isWhole || checked.broken.isAny;
  const affected = isDamaged ? await affectedPoints(walk, points, checked.broken) : [];
  for (const point of affected) tellFinding(run, pointFinding(point));
  return {
    points: points.length,
    chunks: walked.live.chunkCount,
    packs: packs.length,
    packsRead: checked.packsRead,
    bytesRead: checked.bytesRead,
    pointsDamaged: affected.map(({ id }) => id),
    findings,
  };
}

/** Names of index objects that describe packs as they are not; what they say does not count. */
async function lyingObjects(
  run: RunContext,
  { repository, readFraction }: VerifyOptions,
  {
    stored,
    unreadable,
  }: { readonly stored: StoredPacks; readonly unreadable: readonly CofferError[] },
): Promise<ReadonlySet<string>> {
  if (readFraction <= 0) {
    for (const error of unreadable) tellObject(run, 'index', error);
    return new Set();
  }
  const damaged = await checkIndexObjects(repository.store, stored, run.signal);
  for (const { error } of damaged) tellObject(run, 'index', error);
  return new Set(damaged.map(({ name }) => name));
}

interface Walked {
  readonly live: LiveSet;
  readonly isWhole: boolean;
}

/** Follows all trees; what cannot be followed is damaged, and the walk goes on beside it. */
async function walkTrees(
  outer: RunContext,
  options: LiveSetOptions,
  points: readonly RecoveryPoint[],
): Promise<Walked> {
  const { run, findings } = collecting(outer);
  const onUnreadable = (id: ChunkId, error: CofferError): void =>
    tellObject(run, `node ${id.toString('hex')}`, error);
  const live = new LiveSet({ ...options, onUnreadable });
  await live.mark(points.flatMap(rootsOf));
  for (const id of live.missing) {
    const error = new CofferError('chunk-missing', { chunk: id.toString('hex') });
    tellObject(run, `chunk ${id.toString('hex')}`, error);
  }
  return { live, isWhole: findings.length === 0 };
}

/** Which chunks are not what their ids say, and in which packs. */
class BrokenPlaces {
  /** By the name of the pack. */
  readonly #broken = new Map<string, Set<string>>();

  get isAny(): boolean {
    return this.#broken.size > 0;
  }

  add(pack: Buffer, ids: readonly ChunkId[]): void {
    this.#broken.set(pack.toString('hex'), new Set(ids.map(idKey)));
  }

  has(id: ChunkId, pack: Buffer): boolean {
    return this.#broken.get(pack.toString('hex'))?.has(idKey(id)) ?? false;
  }
}

interface CheckedPacks {
  packsRead: number;
  bytesRead: number;
  readonly broken: BrokenPlaces;
}

async function checkPacks(
  run: RunContext,
  { repository, readFraction }: VerifyOptions,
  { packs, stored }: { readonly packs: readonly NamedPack[]; readonly stored: StoredPacks },
): Promise<CheckedPacks> {
  const result = { packsRead: 0, bytesRead: 0, broken: new BrokenPlaces() };
  const check = new PackCheck(repository);
  const present = packs.filter((named) => {
    if (named.descriptions.some((description) => stored.has(description))) return true;
    const reason = stored.sizeOf(named.pack) === undefined ? 'missing' : 'another size';
    report(run, named, check.missing(named, reason), result);
    return false;
  });
  const chosen = choose(present, readFraction, () => run.random.fraction());
  const bytes = chosen.reduce((sum, { pack }) => sum + (stored.sizeOf(pack) ?? 0), 0);
  tellTotal(run, { bytes, items: chosen.length });
  await mapBounded(chosen, PACKS_AT_ONCE, async (named) => {
    run.signal.throwIfAborted();
    const checked = await check.check(named);
    report(run, named, checked, result);
    if (checked.isThere) result.packsRead++;
    result.bytesRead += checked.bytesRead;
    tellDone(run, { bytes: checked.bytesRead, items: 1 });
  });
  return result;
}

function report(
  run: RunContext,
  { pack }: NamedPack,
  { reason, broken }: PackCheckResult,
  result: CheckedPacks,
): void {
  const object = packObjectName(pack);
  if (reason !== undefined) {
    tellObject(run, object, new CofferError('object-damaged', { object, reason }));
  }
  for (const id of broken) {
    const chunk = id.toString('hex');
    const damaged = new CofferError('chunk-damaged', { chunk, object });
    tellObject(run, `chunk ${chunk}`, damaged);
  }
  if (broken.length > 0) result.broken.add(pack, broken);
}

/** Points that reach what is not whole at any of its places, as far as packs are accepted. */
export async function affectedPoints(
  options: { index: LiveSetOptions['index']; records: RecordReader; accepts: AcceptsPack },
  points: readonly RecoveryPoint[],
  broken: BrokenPlaces = new BrokenPlaces(),
): Promise<RecoveryPoint[]> {
  const { index } = options;
  const packOf = ({ packNumber }: Location): IndexedPack => index.requiredPack(packNumber);
  const wholeness = new Wholeness(options, (id, place) => broken.has(id, packOf(place).pack));
  const affected: RecoveryPoint[] = [];
  for (const point of points) {
    for (const root of rootsOf(point)) {
      if (await wholeness.isWhole(root)) continue;
      affected.push(point);
      break;
    }
  }
  return affected;
}

function rootsOf({ roots }: RecoveryPoint): Buffer[] {
  return roots.map(({ root }) => Buffer.from(root, 'hex'));
}

/** A random part, at least one when any is wanted, so that every pack has its turn some day. */
function choose(
  packs: readonly NamedPack[],
  fraction: number,
  random: () => number,
): readonly NamedPack[] {
  if (fraction >= 1) return packs;
  if (fraction <= 0 || packs.length === 0) return [];
  const wanted = Math.max(1, Math.round(packs.length * fraction));
  return [...packs]
    .map((pack) => ({ pack, order: random() }))
    .sort((a, b) => a.order - b.order)
    .slice(0, wanted)
    .map(({ pack }) => pack);
}

function tellObject(run: RunContext, name: string, error: CofferError): void {
  tellFinding(run, findingOf(error, { kind: 'object', name }));
}

function pointFinding({ id, item, takenAt }: RecoveryPoint): Finding {
  const details = { item, takenAt: new Date(takenAt).toISOString() };
  return { code: 'point-damaged', subject: { kind: 'point', name: id }, details };
}
