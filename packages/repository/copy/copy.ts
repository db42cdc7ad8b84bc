/**
 * Copying of points between repositories. Between two of one key domain, sealed chunks that are
 * missing are moved as they are, by someone who needs no key. Otherwise they are opened and sealed
 * anew.
 */
import {
  collecting,
  CofferError,
  type Finding,
  findingOf,
  isCofferError,
  tellDone,
  tellFinding,
  tellPhase,
  tellTotal,
} from '@coffer/base';
import { idKey } from '../chunk/chunk-id.ts';
import { damagedName, markedDamaged } from '../damaged-points.ts';
import { isChunkError, RecordReader } from '../chunk/record-reader.ts';
import type { IndexedPack } from '../index/chunk-index.ts';
import { EntrySet } from '../index/entry-set.ts';
import { moveChunks } from '../pack/move-chunks.ts';
import type { Location } from '../index/location.ts';
import type { MovedChunk } from '../pack/pack-builder.ts';
import { StoredPacks } from '../pack/stored-packs.ts';
import {
  decodePoint,
  type EncodedPoint,
  encodePointAgain,
  type RecoveryPoint,
} from '../recovery-point.ts';
import { type Repository, UnlockedRepository } from '../repository.ts';
import type { PackWriter } from '../session/pack-writer.ts';
import type { Session } from '../session/session.ts';
import { chunksOnlyIn } from '../tree/difference.ts';
import { copyReceipt, receiptsMissing } from './receipts.ts';
import { resealTree } from './reseal.ts';

export interface CopyOptions {
  readonly source: Repository;
  readonly target: Repository;
  /** Which points are wanted. */
  readonly isWanted: (point: RecoveryPoint) => boolean;
}

export interface CopyResult {
  /** Ids in the target. */
  readonly pointsCopied: readonly string[];
  readonly pointsPresent: number;
  readonly chunksNew: number;
  readonly bytesStored: number;
  /** Whether sealed chunks were moved as they are. */
  readonly sealedAsTheyAre: boolean;
  /** Points of either repository that cannot be read. They are left out; others are copied. */
  readonly findings: readonly Finding[];
}

export async function copyPoints(options: CopyOptions): Promise<CopyResult> {
  const { source, target } = options;
  const sealedAsTheyAre = source.sharesKeysWith(target);
  const { run, findings } = collecting(target.run);
  const onUnreadable =
    ({ location }: Repository) =>
    (error: CofferError) =>
      tellFinding(run, findingOf(error, { kind: 'repository', name: location }));
  tellPhase(run, 'list-points');
  const readable = await source.points({ onDamaged: onUnreadable(source) });
  const wanted = readable.filter(options.isWanted);
  await source.index.synchronize(source.store);
  // What was deleted there for a while is there.
  const present = await target.points({ onDamaged: onUnreadable(target), deleted: true });
  const damaged = await markedDamaged(target.store);
  const missing = wanted.filter(
    (point) => damaged.has(point.id) || !isPresent(point, present, sealedAsTheyAre),
  );
  // Somebody who can add objects to the target can add a point that is none.
  const ofSource = new Set(readable.map(({ id }) => id));
  const trusted = target.keys ? present : present.filter(({ id }) => ofSource.has(id));
  const receipts = await receiptsMissing(options);
  const carryReceipt = async (id: string): Promise<void> => {
    if (receipts.has(id)) await copyReceipt(run, options, id);
  };
  // Of points whose copy was interrupted before their receipts came.
  for (const point of wanted) if (!missing.includes(point)) await carryReceipt(point.id);
  const copied: string[] = [];
  let chunksNew = 0;
  let bytesStored = 0;
  tellPhase(run, 'copy-chunks');
  // Each point is a session of its own, so that what is copied is there, whatever comes later.
  for (const point of missing) {
    const known = [...trusted, ...wanted.filter(({ id }) => copied.includes(id))];
    const outcome = await copyPoint(options, point, known);
    if (!outcome) continue;
    copied.push(outcome.id);
    if (damaged.has(outcome.id)) await target.store.delete(damagedName(outcome.id));
    await carryReceipt(outcome.id);
    chunksNew += outcome.chunksNew;
    bytesStored += outcome.bytesStored;
  }
  const pointsPresent = wanted.length - missing.length;
  return { pointsCopied: copied, pointsPresent, chunksNew, bytesStored, sealedAsTheyAre, findings };
}

/** A collection of garbage in the source may move chunks while they are copied, so often. */
const ATTEMPTS_MAX = 5;

/** Undefined for a point that was removed from the source while it was copied. */
async function copyPoint(
  options: CopyOptions,
  point: RecoveryPoint,
  known: readonly RecoveryPoint[],
): Promise<{ id: string; chunksNew: number; bytesStored: number } | undefined> {
  const { source } = options;
  for (let attempt = 1; ; attempt++) {
    try {
      return await copyOnce(options, point, known);
    } catch (error) {
      if (!mayBeMoved(error)) throw error;
      const left = await source.points({ onDamaged: () => {}, deleted: true });
      if (!left.some(({ id }) => id === point.id)) return undefined;
      if (attempt === ATTEMPTS_MAX) throw error;
      await source.index.synchronize(source.store);
    }
  }
}

async function copyOnce(
  options: CopyOptions,
  point: RecoveryPoint,
  known: readonly RecoveryPoint[],
): Promise<{ id: string; chunksNew: number; bytesStored: number }> {
  const { source, target } = options;
  if (source.sharesKeysWith(target)) {
    return await copyIn(await target.beginMove(), (session) =>
      copySealed(options, point, session, known),
    );
  }
  const unlocked = { source: requireUnlocked(source), target: requireUnlocked(target) };
  return await copyIn(await unlocked.target.beginSession(), (session) =>
    copyOpened({ ...options, ...unlocked }, point, session),
  );
}

async function copyIn<W extends PackWriter>(
  session: Session<W>,
  copy: (session: Session<W>) => Promise<EncodedPoint>,
): Promise<{ id: string; chunksNew: number; bytesStored: number }> {
  try {
    const encoded = await copy(session);
    await session.commit([encoded]);
    return { id: encoded.id, ...session.writer.statistics };
  } catch (error) {
    await session.abandon().catch(() => {
      // The store may be gone; a garbage collection ends the session then.
    });
    throw error;
  }
}

function requireUnlocked(repository: Repository): UnlockedRepository {
  if (repository instanceof UnlockedRepository) return repository;
  throw new CofferError('passphrase-missing', { repository: repository.location });
}

function mayBeMoved(error: unknown): boolean {
  return isChunkError(error) || isCofferError(error, 'object-not-found');
}

/** A point sealed anew has another id; its item and time tell that it is the same. */
function isPresent(
  point: RecoveryPoint,
  present: readonly RecoveryPoint[],
  sealedAsTheyAre: boolean,
): boolean {
  if (sealedAsTheyAre) return present.some(({ id }) => id === point.id);
  const { item, kind, takenAt } = point;
  return present.some(
    (other) => other.item === item && other.kind === kind && other.takenAt === takenAt,
  );
}

async function copySealed(
  { source, target }: CopyOptions,
  point: RecoveryPoint,
  session: Session<PackWriter>,
  present: readonly RecoveryPoint[],
): Promise<EncodedPoint> {
  const { store, index, run } = source;
  const { signal } = run;
  const records = new RecordReader({ store, index, signal });
  const wanted = new EntrySet(index);
  const base = await baseOf(target, point, present, session);
  const found = chunksOnlyIn(rootsOf(point), base ? rootsOf(base) : [], { index, records, signal });
  const severalPlaces = new Set<string>();
  const placesThere = choosePlaces(source);
  for await (const { id, places } of found) {
    if (places.length === 0) throw new CofferError('chunk-missing', { chunk: id.toString('hex') });
    if (session.writer.isStored(id)) continue;
    const chosen = await placesThere(places);
    for (const place of chosen) wanted.add(place);
    if (chosen.length > 1) severalPlaces.add(idKey(id));
  }
  const packs = packsNamed(source, wanted);
  const bytesOf = ({ pack }: IndexedPack): number => wanted.use(pack.toString('hex'))?.bytes ?? 0;
  const onPackDone = (pack: IndexedPack): void =>
    tellDone(target.run, { bytes: bytesOf(pack), items: 1 });
  const bytes = packs.reduce((sum, pack) => sum + bytesOf(pack), 0);
  tellTotal(target.run, { bytes, items: packs.length });
  const { writer } = session;
  // Without a key nobody can tell which place of several is forged: all are copied.
  const move = (chunk: MovedChunk): Promise<void> =>
    severalPlaces.has(idKey(chunk.entry.id)) ? writer.moveBeside(chunk) : writer.move(chunk);
  await moveChunks({ source, packs, wanted, move, onPackDone });
  return await readEncoded(source, point);
}

/**
 * Of several places of a chunk, those in packs that are there: an index object may name a pack that
 * is lost, or that never was. The packs are listed when the first such chunk is met, which is rare.
 */
function choosePlaces({
  store,
  index,
}: Repository): (places: readonly Location[]) => Promise<readonly Location[]> {
  let listed: Promise<StoredPacks> | undefined;
  return async (places) => {
    if (places.length < 2) return places;
    const stored = await (listed ??= StoredPacks.list(store));
    const isThere = ({ packNumber }: Location): boolean => {
      const pack = index.pack(packNumber);
      return pack !== undefined && stored.has(pack);
    };
    const there = places.filter(isThere);
    return there.length > 0 ? there : places;
  };
}

/**
 * A point of the item that the target has: what it reaches is not looked at again. It is looked for
 * after the session began, so that what it reaches stays, though it may be removed meanwhile.
 */
async function baseOf(
  target: Repository,
  { item }: RecoveryPoint,
  present: readonly RecoveryPoint[],
  session: Session<PackWriter>,
): Promise<RecoveryPoint | undefined> {
  if (!session.isPointWhole) return undefined;
  const base = present.filter((each) => each.item === item).at(-1);
  if (!base || (await target.isMarkedDamaged(base))) return undefined;
  if (!(await target.isListed(base))) return undefined;
  session.relyOnAll();
  return base;
}

/** Fails with `object-not-found` when a collection has removed a pack meanwhile. */
function packsNamed({ index }: Repository, wanted: EntrySet): IndexedPack[] {
  return [...wanted.packs()].map((name) => {
    const pack = index.pack(wanted.use(name)!.packNumber);
    if (pack?.pack.toString('hex') === name) return pack;
    // Another process has given it another number.
    for (const each of index.packs()) if (each.pack.toString('hex') === name) return each;
    throw new CofferError('object-not-found', { name });
  });
}

interface UnlockedPair {
  readonly source: UnlockedRepository;
  readonly target: UnlockedRepository;
}

async function copyOpened(
  { source, target }: CopyOptions & UnlockedPair,
  point: RecoveryPoint,
  session: Session,
): Promise<EncodedPoint> {
  const { run } = target;
  tellTotal(run, { bytes: point.roots.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) });
  const onChunk = (bytes: number): void => tellDone(run, { bytes, items: 1 });
  const roots: RecoveryPoint['roots'] = [];
  for (const { name, root, sizeBytes } of point.roots) {
    const resealed = await resealTree(Buffer.from(root, 'hex'), {
      source,
      writer: session.writer,
      onChunk,
    });
    roots.push({ name, root: resealed.toString('hex'), sizeBytes });
  }
  return encodePointAgain(point, roots, source.allKeys, { ...target.keys, random: run.random });
}

/** The point's record, byte for byte. */
async function readEncoded(source: Repository, point: RecoveryPoint): Promise<EncodedPoint> {
  const bytes = await source.readPointRecord(point);
  decodePoint(point.id, bytes);
  return { id: point.id, item: point.item, bytes };
}

function rootsOf(point: RecoveryPoint): Buffer[] {
  return point.roots.map(({ root }) => Buffer.from(root, 'hex'));
}
