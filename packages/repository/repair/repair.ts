/**
 * Repair: the index is made anew where it is damaged, intact chunks of damaged packs are moved to
 * new packs, and exactly what is damaged is dropped. Dropped chunks are stored again by the next
 * backup that meets them, which makes points whole that miss them.
 *
 * It is a session, so a garbage collection waits for it and deletes nothing that it names.
 */
import {
  collecting,
  CofferError,
  type Finding,
  findingOf,
  mapBounded,
  tellDone,
  tellFinding,
  tellPhase,
  tellTotal,
} from '@coffer/base';
import { refuseAppendOnly } from '@coffer/storage/object-store.ts';
import { idKey } from '../chunk/chunk-id.ts';
import { RecordReader } from '../chunk/record-reader.ts';
import { readGcState } from '../generations/gc-record.ts';
import type { AcceptsPack } from '../index/chunk-index.ts';
import { addMarks, markDamaged } from '../damaged-points.ts';
import { writeReplacements } from '../index/leave-out.ts';
import { packObjectName } from '../pack/pack-codec.ts';
import type { Repository } from '../repository.ts';
import { PackWriter } from '../session/pack-writer.ts';
import type { Session } from '../session/session.ts';
import { checkIndexObjects } from '../verify/check-index.ts';
import { type NamedPack, namedPacks, PackCheck, PACKS_AT_ONCE } from '../verify/pack-check.ts';
import { StoredPacks } from '../pack/stored-packs.ts';
import { affectedPoints, verifyRepository } from '../verify/verify.ts';
import { rebuildIndex } from './rebuild-index.ts';
import { dropDamagedPoints, giveUpLostPoints, repairRecords } from './repair-records.ts';

export interface RepairOptions {
  readonly repository: Repository;
  /** Makes the index anew even when it is not damaged, and reads no pack whole. */
  readonly rebuildIndex: boolean;
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
  const { run, findings } = collecting(options.repository.run);
  const repository = options.repository.during(run);
  refuseAppendOnly(repository.store);
  tellPhase(run, 'check-records');
  await repairRecords(repository);
  const session = await repository.beginMove();
  try {
    const { rebuildIndex } = options;
    const indexRebuilt = await repairIndex({ repository, rebuildIndex }, session.generation);
    const packs = rebuildIndex ? NO_PACKS : await repairPacks(repository, session);
    const pointsDropped = await dropDamagedPoints(repository);
    await giveUpLostPoints(repository);
    const { pointsDamaged } = await verifyRepository({ repository, readFraction: 0 });
    await markDamaged(repository.context, pointsDamaged);
    await session.commit([]);
    return { indexRebuilt, ...packs, pointsDropped, pointsDamaged, findings };
  } catch (error) {
    await session.abandon().catch(() => {
      // The store may be gone; a garbage collection ends the session then.
    });
    throw error;
  }
}

async function repairIndex(
  { repository, rebuildIndex: isAsked }: RepairOptions,
  generation: number,
): Promise<boolean> {
  const { index, store, run } = repository;
  tellPhase(run, 'rebuild-index');
  const damaged = await checkIndexObjects(store, await StoredPacks.list(store), run.signal);
  for (const { error } of damaged) {
    tellFinding(run, findingOf(error, { kind: 'object', name: 'index' }));
  }
  if (damaged.length === 0 && !isAsked) {
    await index.synchronize(store);
    return false;
  }
  const state = await readGcState(store);
  const condemned = {
    packs: new Set(state.unfinished?.packs),
    generation: Math.max(0, state.generation - 1),
  };
  await rebuildIndex(run, { store, condemned, generation });
  index.clear();
  await index.synchronize(store);
  return true;
}

type PacksRepaired = Pick<RepairResult, 'packsDropped' | 'chunksSalvaged' | 'chunksLost'>;

const NO_PACKS: PacksRepaired = { packsDropped: 0, chunksSalvaged: 0, chunksLost: 0 };

/** Packs that are damaged, or hold a chunk that is: what of them is intact goes to new packs. */
async function repairPacks(
  repository: Repository,
  session: Session<PackWriter>,
): Promise<PacksRepaired> {
  const damaged = await findDamagedPacks(repository);
  for (const each of damaged) tellFinding(repository.run, packFinding(each));
  // Without a key, what is intact in a damaged pack cannot be told from what is not.
  const dropped = damaged.filter(({ isThere }) => !isThere || repository.keys);
  if (dropped.length === 0) return NO_PACKS;
  const names = new Set(dropped.map(({ named }) => named.pack.toString('hex')));
  const { objects } = await repository.index.synchronize(repository.store);
  const writer = salvageWriter(repository, session.generation, session.acceptor(objects, names));
  const counts = await salvage(repository, dropped, writer);
  await markThoseThatNeed(repository, names);
  await dropPacks(repository, dropped, { session, names, objects });
  return { packsDropped: dropped.length, ...counts };
}

/**
 * Before the packs go: a repair that is killed then has left no point without its mark that misses
 * chunks. At the end, exactly those are marked that do.
 */
async function markThoseThatNeed(
  repository: Repository,
  packs: ReadonlySet<string>,
): Promise<void> {
  const { index, store, run } = repository;
  const points = await repository.points({ onDamaged: () => {}, deleted: true });
  const { objects } = await index.synchronize(store);
  const records = new RecordReader({ store, index, signal: run.signal });
  const accepts = index.acceptor(objects, packs);
  const needing = await affectedPoints({ index, records, accepts }, points);
  await addMarks(
    repository.context,
    needing.map(({ id }) => id),
  );
}

function packFinding({ named, isThere, reason }: DamagedPack): Finding {
  const subject = { kind: 'object', name: packObjectName(named.pack) } as const;
  if (!isThere) return { code: 'pack-missing', subject, details: {} };
  const code = reason === undefined ? 'pack-forged' : 'pack-damaged';
  return { code, subject, details: { reason } };
}

async function salvage(
  repository: Repository,
  dropped: readonly DamagedPack[],
  writer: PackWriter,
): Promise<Pick<PacksRepaired, 'chunksSalvaged' | 'chunksLost'>> {
  const check = new PackCheck(repository);
  let [chunksSalvaged, chunksLost] = [0, 0];
  try {
    for (const { named, reason } of dropped) {
      const checked = await check.check(named);
      if (checked.reason === undefined && reason !== undefined) throw cameBack(named);
      chunksLost += new Set(checked.broken.map(idKey)).size;
      for (const entry of checked.salvage) {
        const record = checked.bytes.subarray(entry.offset, entry.offset + entry.length);
        await writer.move({ entry, keyBox: checked.keyBoxes[entry.keyIndex]!, record });
        chunksSalvaged++;
      }
    }
    await writer.flush();
  } finally {
    await writer.close();
  }
  return { chunksSalvaged, chunksLost };
}

/** A store that was away for a moment, such as a folder that was not mounted, has lost nothing. */
function cameBack({ pack }: NamedPack): CofferError {
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
    readonly session: Session<PackWriter>;
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
  for (const { named } of dropped) await store.delete(packObjectName(named.pack));
  await index.synchronize(store);
}

interface DamagedPack {
  readonly named: NamedPack;
  readonly isThere: boolean;
  /** Undefined when only chunks in it are damaged. */
  readonly reason: string | undefined;
}

async function findDamagedPacks(repository: Repository): Promise<DamagedPack[]> {
  const { run } = repository;
  tellPhase(run, 'read-packs');
  const packs = namedPacks(repository.index);
  const check = new PackCheck(repository);
  tellTotal(run, { items: packs.length });
  const checked = await mapBounded(packs, PACKS_AT_ONCE, async (named) => {
    run.signal.throwIfAborted();
    const { isThere, reason, broken, bytesRead } = await check.check(named);
    tellDone(run, { bytes: bytesRead, items: 1 });
    const isDamaged = reason !== undefined || broken.length > 0;
    return isDamaged ? { named, isThere, reason } : undefined;
  });
  return checked.filter((each) => each !== undefined);
}

/** Takes chunks of the damaged packs as if they were not stored. */
function salvageWriter(
  { context, packSizeBytes }: Repository,
  generation: number,
  acceptsPack: AcceptsPack,
): PackWriter {
  return new PackWriter({ context, generation, acceptsPack, packSizeBytes });
}
