/**
 * Verification. Without reading data: all records decode, and all that points reach is known to the
 * index and lies in packs that are there with their size. With reading: packs are what their names
 * promise, which needs no key; with a key, the chunks of a damaged pack are told one by one.
 */
import { CofferError, type Finding, isCofferError, mapBounded } from '@coffer/base';
import { idKey } from '../chunk/chunk-id.ts';
import { RecordReader } from '../chunk/record-reader.ts';
import type { IndexedPack } from '../index/chunk-index.ts';
import { LiveSet } from '../gc/live-set.ts';
import { isPackIntact, packObjectName } from '../pack/pack-codec.ts';
import type { RecoveryPoint } from '../recovery-point.ts';
import type { Repository } from '../repository.ts';
import { affectedPoints } from './affected.ts';
import { checkIndexObjects } from './check-index.ts';
import { checkRecords } from './check-records.ts';
import { damagedChunks } from './damaged-chunks.ts';

/** Packs read at once; each is up to 24 MiB of memory. */
const PACKS_AT_ONCE = 3;

export interface VerifyOptions {
  readonly repository: Repository;
  /** Only these points; all of them when undefined. */
  readonly points?: readonly RecoveryPoint[] | undefined;
  /** Which part of the packs is read, from 0 to 1. */
  readonly readFraction: number;
  readonly onProgress?: ((bytesRead: number, bytesTotal: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
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
  const { repository, signal } = options;
  const findings: Finding[] = await checkRecords(repository);
  // Points first: what is listed then, the index objects that are read afterwards know.
  const all = await repository.points((error) => findings.push(toFinding(error, 'points')));
  const { store, index } = repository;
  const { damaged: seenDamaged, objects } = await index.synchronize(store, signal);
  const damagedObjects =
    options.readFraction > 0 ? await checkIndexObjects(store, signal) : seenDamaged;
  for (const error of damagedObjects) findings.push(toFinding(error, 'index'));
  const points = options.points ?? all;
  const walked = await walk(options, points, objects);
  findings.push(...walked.findings);
  const reachable = new Set(walked.live.entries.packs());
  const packs = [...repository.index.packs()].filter(
    ({ pack }) => !options.points || reachable.has(pack.toString('hex')),
  );
  const checked = await checkPacks(options, packs);
  findings.push(...checked.findings);
  const damaged = new Set([...walked.damaged, ...checked.damaged]);
  const affected = await affectedPoints(repository, points, damaged, signal);
  findings.push(...affected.map(toPointFinding));
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

interface Walked {
  readonly live: LiveSet;
  readonly damaged: ReadonlySet<string>;
  readonly findings: readonly Finding[];
}

/** Follows all trees; what cannot be followed is damaged, and the walk goes on beside it. */
async function walk(
  { repository, signal }: VerifyOptions,
  points: readonly RecoveryPoint[],
  objects: ReadonlySet<string>,
): Promise<Walked> {
  const { index, store } = repository;
  const findings: Finding[] = [];
  const damaged = new Set<string>();
  const live = new LiveSet({
    index,
    records: new RecordReader({ store, index, signal }),
    accepts: index.acceptor(objects),
    signal,
    onUnreadable: (id, error) => {
      damaged.add(idKey(id));
      findings.push(toFinding(error, `node ${id.toString('hex')}`));
    },
  });
  await live.mark(points.flatMap(({ roots }) => roots.map(({ root }) => Buffer.from(root, 'hex'))));
  for (const id of live.missing) {
    damaged.add(idKey(id));
    const error = new CofferError('chunk-missing', { chunk: id.toString('hex') });
    findings.push(toFinding(error, `chunk ${id.toString('hex')}`));
  }
  return { live, damaged, findings };
}

interface CheckedPacks {
  packsRead: number;
  bytesRead: number;
  readonly damaged: Set<string>;
  readonly findings: Finding[];
}

async function checkPacks(
  options: VerifyOptions,
  packs: readonly IndexedPack[],
): Promise<CheckedPacks> {
  const { repository, readFraction, signal } = options;
  const result: CheckedPacks = { packsRead: 0, bytesRead: 0, damaged: new Set(), findings: [] };
  const sizes = await packSizes(repository);
  const present = packs.filter((pack) => {
    if (sizes.get(pack.pack.toString('hex')) === pack.sizeBytes) return true;
    const reason = sizes.has(pack.pack.toString('hex')) ? 'another size' : 'missing';
    reportPack(repository, pack, reason, undefined, result);
    return false;
  });
  const chosen = choose(present, readFraction, () => repository.random.fraction());
  const bytesTotal = chosen.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  await mapBounded(chosen, PACKS_AT_ONCE, async (pack) => {
    signal?.throwIfAborted();
    await readPack(repository, pack, result);
    options.onProgress?.(result.bytesRead, bytesTotal);
  });
  return result;
}

async function readPack(
  repository: Repository,
  pack: IndexedPack,
  result: CheckedPacks,
): Promise<void> {
  try {
    const limit = { sizeBytesMax: pack.sizeBytes };
    const bytes = await repository.store.get(packObjectName(pack.pack), limit);
    result.packsRead++;
    result.bytesRead += bytes.length;
    if (isPackIntact(bytes, pack.pack)) return;
    reportPack(repository, pack, 'its digest does not match', bytes, result);
  } catch (error) {
    // It was as it has to be when it was listed.
    if (isCofferError(error, 'object-damaged')) {
      reportPack(repository, pack, 'another size', undefined, result);
    } else if (isCofferError(error, 'object-not-found')) {
      reportPack(repository, pack, 'missing', undefined, result);
    } else throw error;
  }
}

function reportPack(
  repository: Repository,
  pack: IndexedPack,
  reason: string,
  bytes: Buffer | undefined,
  result: CheckedPacks,
): void {
  const object = packObjectName(pack.pack);
  const error = new CofferError('object-damaged', { object, reason });
  result.findings.push(toFinding(error, object));
  for (const id of damagedChunks(repository, pack, bytes)) {
    result.damaged.add(idKey(id));
    const chunk = id.toString('hex');
    const damaged = new CofferError('chunk-damaged', { chunk, object });
    result.findings.push(toFinding(damaged, `chunk ${chunk}`));
  }
}

async function packSizes({ store }: Repository): Promise<Map<string, number>> {
  const sizes = new Map<string, number>();
  for await (const { name, sizeBytes } of store.list('packs/')) {
    sizes.set(name.slice(name.lastIndexOf('/') + 1), sizeBytes);
  }
  return sizes;
}

/** A random part, at least one when any is wanted, so that every pack has its turn some day. */
function choose(
  packs: readonly IndexedPack[],
  fraction: number,
  random: () => number,
): readonly IndexedPack[] {
  if (fraction >= 1) return packs;
  if (fraction <= 0 || packs.length === 0) return [];
  const wanted = Math.max(1, Math.round(packs.length * fraction));
  return [...packs]
    .map((pack) => ({ pack, order: random() }))
    .sort((a, b) => a.order - b.order)
    .slice(0, wanted)
    .map(({ pack }) => pack);
}

function toFinding(error: CofferError, path: string): Finding {
  return { code: error.code, path, message: error.message };
}

function toPointFinding({ id, item, takenAt }: RecoveryPoint): Finding {
  const when = new Date(takenAt).toISOString();
  return {
    code: 'point-damaged',
    path: id,
    message: `${item} of ${when} cannot be restored whole`,
  };
}
