/** Moves what is live out of packs that are to go. */
import { CofferError, digest, tellDone, tellPhase, tellTotal } from '@coffer/base';
import { RecordReader } from '../chunk/record-reader.ts';
import type { IndexedPack } from '../index/chunk-index.ts';
import { moveChunks } from '../pack/move-chunks.ts';
import type { MovedChunk } from '../pack/pack-builder.ts';
import { packObjectName } from '../pack/pack-codec.ts';
import { StoredPacks } from '../pack/stored-packs.ts';
import type { Repository } from '../repository.ts';
import { PackWriter, type Relied } from '../session/pack-writer.ts';
import type { LiveSet } from '../reach/live-set.ts';
import type { GcPlan } from './plan.ts';
import { changedMeanwhile, synchronize } from './index-in-step.ts';

export const NOTHING_MOVED: Relied = { objects: [], packs: [], found: new Map() };

export interface RepackPlan {
  readonly plan: GcPlan;
  readonly live: LiveSet;
  readonly stored: StoredPacks;
}

/** Moves what is live out of the packs that are to go, into packs that no plan knows yet. */
export async function repack(
  repository: Repository,
  { plan, live, stored }: RepackPlan,
  generation: number,
): Promise<Relied> {
  if (plan.repack.length === 0) return NOTHING_MOVED;
  const { index, context, packSizeBytes, run } = repository;
  const absent = new Set([...plan.remove, ...plan.repack]);
  const { objects } = await synchronize(repository);
  const acceptsPack = index.acceptor(objects, absent);
  const writer = new PackWriter({ context, generation, acceptsPack, packSizeBytes });
  const records = new RecordReader({ store: repository.store, index, signal: run.signal });
  const moved = new Set<string>();
  // That a pack which stays has the id says little: only the same bytes make a move needless.
  const move = async (chunk: MovedChunk): Promise<void> => {
    if (index.places(chunk.entry.id).length < 2) {
      await writer.move(chunk);
      return;
    }
    const bytes = digest(chunk.record).toString('latin1');
    if (moved.has(bytes)) return;
    if (await records.isAmong(chunk, index.places(chunk.entry.id, acceptsPack))) return;
    moved.add(bytes);
    await writer.moveBeside(chunk);
  };
  const left = new Set(plan.repack);
  // A pack that several index objects name is moved once, as one says that knows its size.
  const packs = [...index.packs()].filter(
    (pack) => stored.has(pack) && left.delete(pack.pack.toString('hex')),
  );
  const isNamed = [...index.packs()].some(({ pack }) => left.has(pack.toString('hex')));
  if (isNamed) throw new CofferError('repository-damaged', { packsMissing: left.size });
  if (left.size > 0) throw changedMeanwhile();
  tellPhase(run, 'repack');
  const bytes = packs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  tellTotal(run, { bytes, items: packs.length });
  const onPackDone = ({ sizeBytes }: IndexedPack): void =>
    tellDone(run, { bytes: sizeBytes, items: 1 });
  try {
    await moveChunks({ source: repository, packs, wanted: live.entries, move, onPackDone });
    await writer.flush();
    return writer.relied;
  } finally {
    await writer.close();
  }
}

/** A store that was set back has lost what was moved out of the packs that are to go. */
export async function requireMoved(
  { store }: Repository,
  { objects, packs }: Relied,
): Promise<void> {
  if (packs.length === 0) return;
  const stored = await StoredPacks.list(store);
  const lostPack = packs.find((pack) => !stored.has(pack));
  if (lostPack)
    throw new CofferError('store-rolled-back', { object: packObjectName(lostPack.pack) });
  for (const object of objects) {
    if (!(await store.stat(object))) throw new CofferError('store-rolled-back', { object });
  }
}
