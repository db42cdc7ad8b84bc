/**
 * Copying of a point within its key domain: sealed chunks that the target lacks are moved as they are,
 * by someone who needs no key.
 */
import {
  CofferError,
  findingOf,
  isCofferError,
  mapAhead,
  required,
  type RunContext,
  tellDone,
  tellFinding,
  tellTotal,
} from '@coffer/base';
import { type ChunkId, idKey } from '../chunk/chunk-id.ts';
import { damaged, RecordReader } from '../chunk/record-reader.ts';
import type { ChunkIndex, IndexedPack } from '../index/chunk-index.ts';
import { EntrySet } from '../index/entry-set.ts';
import type { Location } from '../index/location.ts';
import { MeantIds } from './meant-ids.ts';
import { moveChunks, type MoveChunksOptions } from '../pack/move-chunks.ts';
import type { MovedChunk } from '../pack/pack-builder.ts';
import { PacksLookedUp } from '../pack/packs-looked-up.ts';
import { decodePoint, type EncodedPoint, type RecoveryPoint } from '../recovery-point.ts';
import type { Repository } from '../repository.ts';
import type { PackWriter } from '../session/pack-writer.ts';
import type { Session } from '../session/session.ts';
import { chunksOnlyIn, type FoundChunk } from '../reach/difference.ts';
import { chunksLookedForMax, type Copied, copyIn, type Copying, leastChunksOf } from './copying.ts';

/**
 * One point of a few: without listing the packs of the target, as long as it has few chunks beside
 * that. What the target has is looked for chunk by chunk then.
 */
export async function copySealed(copying: Copying, point: RecoveryPoint): Promise<Copied> {
  const { target } = copying;
  const chunksMax = await chunksLookedForMax(copying);
  if (leastChunksOf(point) <= chunksMax) {
    const session = await target.beginMove({ looksUpPacks: true });
    const moving = { session, chunksMax, baseRoots: [] };
    const copied = await copyIn(session, () => moveMissing(copying, point, moving));
    if (copied) return copied;
  }
  const session = await target.beginMove();
  const copied = await copyIn(session, async () => {
    const base = await baseOf(copying, point, session);
    const moving = { session, chunksMax: Number.POSITIVE_INFINITY };
    return await moveMissing(copying, point, { ...moving, baseRoots: base ? rootsOf(base) : [] });
  });
  return required(copied, 'any number of chunks is copied');
}

interface Moving {
  readonly session: Session<PackWriter>;
  /** Of a point whose chunks are in the target. */
  readonly baseRoots: readonly Buffer[];
  /** It gives up, and returns undefined, when the point has more. */
  readonly chunksMax: number;
}

/** Chunks that are looked for at once. */
const LOOKS_AHEAD = 64;

async function moveMissing(
  { source, run }: Copying,
  point: RecoveryPoint,
  { session, baseRoots, chunksMax }: Moving,
): Promise<EncodedPoint | undefined> {
  const { store, index } = source;
  const records = new RecordReader({ store, index, signal: source.run.signal });
  const walk = { index, records, signal: source.run.signal };
  const found = chunksOnlyIn(rootsOf(point), baseRoots, walk);
  const wanted = new EntrySet(index);
  const meant = new MeantIds(run.random);
  const severalPlaces = new Set<string>();
  const sourcePacks = new PacksLookedUp(store, source.run.signal);
  let chunkCount = 0;
  let doubt: CofferError | undefined;
  for await (const { id, isStored } of lookedFor(found, session)) {
    if (++chunkCount > chunksMax) return undefined;
    if (isStored) continue;
    await lookForPlaces(id, index, sourcePacks);
    // Looked up and added at once: a collection may take a pack out of the index while we wait.
    const chosen = placesThere(index.places(id), index, sourcePacks);
    if (chosen.length === 0) throw new CofferError('chunk-missing', { chunk: id.toString('hex') });
    const own = chosen.filter((place) => wanted.add(place));
    for (const place of own) meant.add(packNameOf(place, index), id);
    if (own.length === 0) doubt ??= damaged(id, 'another chunk is said to lie where it does');
    if (chosen.length > 1) severalPlaces.add(idKey(id));
  }
  const { writer } = session;
  // Without a key nobody can tell which place of several is forged: all are copied.
  const move = (chunk: MovedChunk): Promise<void> =>
    severalPlaces.has(idKey(chunk.entry.id)) ? writer.moveBeside(chunk) : writer.move(chunk);
  const told = await moveWanted(run, source, { wanted, move, isMeant: meant.are });
  doubt ??= told;
  if (doubt) await requireStored(chunksOnlyIn(rootsOf(point), baseRoots, walk), session, doubt);
  return await readEncoded(source, point);
}

/** Fails with the doubt when a chunk has been moved from none of its places. */
async function requireStored(
  found: AsyncIterable<FoundChunk>,
  session: Session<PackWriter>,
  doubt: CofferError,
): Promise<void> {
  await session.writer.flush();
  for await (const { isStored } of lookedFor(found, session)) if (!isStored) throw doubt;
}

interface LookedFor extends FoundChunk {
  readonly isStored: boolean;
}

async function* lookedFor(
  found: AsyncIterable<FoundChunk>,
  session: Session<PackWriter>,
): AsyncIterable<LookedFor> {
  if (!session.looksUpPacks) {
    // Nothing is waited for, and there may be many millions.
    for await (const chunk of found) {
      yield { ...chunk, isStored: session.writer.isStored(chunk.id) };
    }
    return;
  }
  yield* mapAhead(found, LOOKS_AHEAD, async (chunk) => {
    return { ...chunk, isStored: await session.isStored(chunk.id) };
  });
}

/** Returns the first reason why what is wanted may not have been moved; each is told. */
async function moveWanted(
  run: RunContext,
  source: Repository,
  chosen: Pick<MoveChunksOptions, 'wanted' | 'move' | 'isMeant'>,
): Promise<CofferError | undefined> {
  const { wanted } = chosen;
  const packs = packsNamed(source, wanted);
  const bytesOf = ({ pack }: IndexedPack): number => wanted.use(pack.toString('hex'))?.bytes ?? 0;
  const bytes = packs.reduce((sum, pack) => sum + bytesOf(pack), 0);
  tellTotal(run, { bytes, items: packs.length });
  const onPackDone = (pack: IndexedPack): void => tellDone(run, { bytes: bytesOf(pack), items: 1 });
  let doubt: CofferError | undefined;
  const onUnusable = (_pack: IndexedPack, error: CofferError): void => {
    doubt ??= error;
    // A collection may have moved what was in it.
    if (isCofferError(error, 'object-not-found')) return;
    tellFinding(run, findingOf(error, { kind: 'repository', name: source.location }));
  };
  const onMisdescribed = (pack: IndexedPack): void => {
    const { object } = pack;
    const reason = 'it describes a pack wrongly';
    onUnusable(pack, new CofferError('object-damaged', { object, reason }));
  };
  await moveChunks({ source, packs, ...chosen, onPackDone, onMisdescribed, onUnusable });
  return doubt;
}

/** In hexadecimal. */
function packNameOf({ packNumber }: Location, index: ChunkIndex): string {
  return index.requiredPack(packNumber).pack.toString('hex');
}

/** Of one place, nobody asks: that its pack is gone is met when it is fetched. */
async function lookForPlaces(id: ChunkId, index: ChunkIndex, packs: PacksLookedUp): Promise<void> {
  const places = index.places(id);
  if (places.length < 2) return;
  await packs.look(places.map(({ packNumber }) => index.requiredPack(packNumber)));
}

/**
 * Of several places of a chunk, those in packs that are there: an index object may name a pack that
 * is lost, or that never was.
 */
function placesThere(
  places: readonly Location[],
  index: ChunkIndex,
  packs: PacksLookedUp,
): readonly Location[] {
  if (places.length < 2) return places;
  const there = places.filter(({ packNumber }) => packs.has(index.requiredPack(packNumber)));
  return there.length > 0 ? there : places;
}

/**
 * A point of the item that the target has: what it reaches is not looked at again. It is looked for
 * after the session began, so that what it reaches stays, though it may be removed meanwhile. Where an
 * index object may be lost that named what it reaches, or a pack is missing, there is none.
 */
async function baseOf(
  { target, basesOf }: Copying,
  { item }: RecoveryPoint,
  session: Session<PackWriter>,
): Promise<RecoveryPoint | undefined> {
  if (!session.isPointWhole) return undefined;
  const base = (await basesOf(item)).at(-1);
  if (!base || (await target.isMarkedDamaged(base))) return undefined;
  const listedAt = await target.listedAt(base);
  if (listedAt === undefined || session.mayLackIndexOf(listedAt)) return undefined;
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

/** The point's record, byte for byte. */
async function readEncoded(source: Repository, point: RecoveryPoint): Promise<EncodedPoint> {
  const bytes = await source.readPointRecord(point);
  decodePoint(point.id, bytes);
  return { id: point.id, item: point.item, bytes };
}

function rootsOf(point: RecoveryPoint): Buffer[] {
  return point.roots.map(({ root }) => Buffer.from(root, 'hex'));
}
