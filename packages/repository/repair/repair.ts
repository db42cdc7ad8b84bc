/**
 * Repair: the index is made anew where it is damaged, intact chunks of damaged packs are moved to
 * new packs, and exactly what is damaged is dropped. Dropped chunks are stored again by the next
 * backup that meets them, which makes points whole that miss them.
 *
 * It is a session, so a garbage collection waits for it and deletes nothing that it names.
 */
import { CofferError, type Finding, isCofferError, mapBounded } from '@coffer/base';
import { refuseAppendOnly } from '@coffer/storage/object-store.ts';
import { idKey } from '../chunk/chunk-id.ts';
import { inlineChunkWork } from '../chunk/chunk-work.ts';
import { readGcState } from '../gc/gc-record.ts';
import type { AcceptsPack, IndexedPack } from '../index/chunk-index.ts';
import { markDamaged } from '../damaged-points.ts';
import { writeReplacements } from '../index/leave-out.ts';
import { isPackIntact, packObjectName } from '../pack/pack-codec.ts';
import type { Repository } from '../repository.ts';
import { ChunkWriter } from '../session/chunk-writer.ts';
import type { Session } from '../session/session.ts';
import { getIfThere } from '../store-calls.ts';
import { checkIndexObjects } from '../verify/check-index.ts';
import { damagedChunks } from '../verify/damaged-chunks.ts';
import { verifyRepository } from '../verify/verify.ts';
import { rebuildIndex } from './rebuild-index.ts';
import { dropDamagedPoints, repairRecords } from './repair-records.ts';

/** Packs read at once; each is up to 24 MiB of memory. */
const PACKS_AT_ONCE = 3;

export interface RepairOptions {
  readonly repository: Repository;
  /** Makes the index anew even when it is not damaged, and reads no pack whole. */
  readonly rebuildIndex: boolean;
  readonly onProgress?: ((packsDone: number, packsTotal: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface RepairResult {
  readonly indexRebuilt: boolean;
  readonly packsDropped: number;
  readonly chunksSalvaged: number;
  readonly chunksLost: number;
  readonly pointsDropped: readonly string[];
  /** Points that still cannot be restored whole. */
  readonly pointsDamaged: readonly string[];
  readonly findings: readonly Finding[];
}

export async function repairRepository(options: RepairOptions): Promise<RepairResult> {
  const { repository, signal } = options;
  const findings: Finding[] = [];
  const onFinding = (finding: Finding): void => void findings.push(finding);
  refuseAppendOnly(repository.store);
  await repairRecords(repository, onFinding);
  const session = await repository.beginSession(signal, { moves: true });
  try {
    const indexRebuilt = await repairIndex(options, session.generation, findings);
    const packs = options.rebuildIndex ? NO_PACKS : await repairPacks(options, session, findings);
    const pointsDropped = await dropDamagedPoints(repository, onFinding);
    const verified = await verifyRepository({ repository, readFraction: 0, signal });
    await markDamaged(repository, verified.pointsDamaged);
    await session.commit([]);
    findings.push(...verified.findings);
    const { pointsDamaged } = verified;
    return { indexRebuilt, ...packs, pointsDropped, pointsDamaged, findings };
  } catch (error) {
    await session.abandon().catch(() => {
      // The store may be gone; a garbage collection ends the session then.
    });
    throw error;
  }
}

async function repairIndex(
  options: RepairOptions,
  generation: number,
  findings: Finding[],
): Promise<boolean> {
  const { repository, signal } = options;
  const { index, store } = repository;
  const damaged = await checkIndexObjects(store, signal);
  for (const { code, message } of damaged) findings.push({ code, path: 'index', message });
  if (damaged.length === 0 && !options.rebuildIndex) {
    await index.synchronize(store, signal);
    return false;
  }
  const state = await readGcState(store);
  const condemned = {
    packs: new Set(state.unfinished?.packs),
    generation: Math.max(0, state.generation - 1),
  };
  const rebuilt = await rebuildIndex({ store, condemned, generation, signal });
  findings.push(...rebuilt.findings);
  index.clear();
  await index.synchronize(store, signal);
  return true;
}

type PacksRepaired = Pick<RepairResult, 'packsDropped' | 'chunksSalvaged' | 'chunksLost'>;
const NO_PACKS: PacksRepaired = { packsDropped: 0, chunksSalvaged: 0, chunksLost: 0 };

interface DamagedPack {
  readonly pack: IndexedPack;
  /** False when the pack is gone. */
  readonly isThere: boolean;
}

async function repairPacks(
  options: RepairOptions,
  session: Session,
  findings: Finding[],
): Promise<PacksRepaired> {
  const { repository } = options;
  const damaged = await findDamagedPacks(options);
  for (const { pack, isThere } of damaged) {
    const path = packObjectName(pack.pack);
    const message = isThere ? 'the pack is damaged' : 'the pack is missing';
    findings.push({ code: 'object-damaged', path, message });
  }
  // Without a key, what is intact in a damaged pack cannot be told from what is not.
  const dropped = damaged.filter(({ isThere }) => !isThere || repository.isUnlocked);
  if (dropped.length === 0) return NO_PACKS;
  const names = new Set(dropped.map(({ pack }) => pack.pack.toString('hex')));
  const { objects } = await repository.index.synchronize(repository.store, options.signal);
  const acceptsPack = session.acceptor(repository.index, objects, names);
  const writer = salvageWriter(options, session.generation, acceptsPack);
  let [chunksSalvaged, chunksLost] = [0, 0];
  for (const { pack } of dropped) {
    const { bytes, isIntact } = await readPack(repository, pack);
    if (isIntact) throw cameBack(pack);
    const lost = new Set(damagedChunks(repository, pack, bytes).map(idKey));
    chunksLost += lost.size;
    for (const entry of bytes ? [...repository.index.entriesOf(pack)] : []) {
      if (lost.has(idKey(entry.id))) continue;
      const record = bytes!.subarray(entry.offset, entry.offset + entry.length);
      await writer.move({ entry, keyBox: pack.keyBoxes[entry.keyIndex]!, record });
      chunksSalvaged++;
    }
  }
  await writer.flush();
  await dropPacks(repository, dropped, { session, names, objects });
  return { packsDropped: dropped.length, chunksSalvaged, chunksLost };
}

/** A store that was away for a moment, such as a folder that was not mounted, has lost nothing. */
function cameBack({ pack }: IndexedPack): CofferError {
  const reason = 'a pack that was missing or damaged is whole now';
  return new CofferError('store-unavailable', { name: packObjectName(pack), reason });
}

async function dropPacks(
  repository: Repository,
  dropped: readonly DamagedPack[],
  {
    session,
    names,
    objects,
  }: {
    readonly session: Session;
    readonly names: ReadonlySet<string>;
    readonly objects: ReadonlySet<string>;
  },
): Promise<void> {
  const { store, index } = repository;
  const { generation, condemned } = session;
  const before = { packs: condemned, generation: Math.max(0, generation - 1) };
  const options = { generation, objects, condemned: before };
  const { replaced } = await writeReplacements(repository, names, options);
  for (const name of replaced) await store.delete(name);
  for (const { pack } of dropped) await store.delete(packObjectName(pack.pack));
  await index.synchronize(store);
}

async function findDamagedPacks({
  repository,
  onProgress,
  signal,
}: RepairOptions): Promise<DamagedPack[]> {
  const packs = [...repository.index.packs()];
  let done = 0;
  const checked = await mapBounded(packs, PACKS_AT_ONCE, async (pack) => {
    signal?.throwIfAborted();
    const { bytes, isIntact } = await readPack(repository, pack);
    onProgress?.(++done, packs.length);
    return isIntact ? undefined : { pack, isThere: bytes !== undefined };
  });
  return checked.filter((each) => each !== undefined);
}

/** The bytes of a pack; of one that is larger than the index says, those that the index knows. */
async function readPack(
  { store }: Repository,
  { pack, sizeBytes }: IndexedPack,
): Promise<{ readonly bytes: Buffer | undefined; readonly isIntact: boolean }> {
  const name = packObjectName(pack);
  try {
    const bytes = await getIfThere(store, name, sizeBytes);
    return { bytes, isIntact: bytes !== undefined && isPackIntact(bytes, pack) };
  } catch (error) {
    if (!isCofferError(error, 'object-damaged')) throw error;
    const bytes = await store.getRange(name, { offset: 0, length: sizeBytes });
    return { bytes, isIntact: false };
  }
}

/** Takes chunks of the damaged packs as if they were not stored. */
function salvageWriter(
  { repository, signal }: RepairOptions,
  generation: number,
  acceptsPack: AcceptsPack,
): ChunkWriter {
  const context = repository.context();
  const { packSizeBytes } = repository;
  return new ChunkWriter({
    ...context,
    generation,
    work: inlineChunkWork({ ...context.keys, privateKey: undefined }, context.random),
    acceptsPack,
    packSizeBytes,
    signal,
  });
}
