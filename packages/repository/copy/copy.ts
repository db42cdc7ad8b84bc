/**
 * Copying of points between repositories. Between two of one key domain, sealed chunks that are
 * missing are moved as they are, by someone who needs no key. Otherwise they are opened and sealed
 * anew.
 */
import {
  collecting,
  CofferError,
  type Finding,
  isCofferError,
  required,
  tellDone,
  tellPhase,
  tellTotal,
} from '@coffer/base';
import { isChunkError } from '../chunk/record-reader.ts';
import { damagedName } from '../damaged-points.ts';
import { type EncodedPoint, encodePointAgain, type RecoveryPoint } from '../recovery-point.ts';
import { type Repository, UnlockedRepository } from '../repository.ts';
import type { Session } from '../session/session.ts';
import { chunksLookedForMax, type Copied, copyIn, type Copying, leastChunksOf } from './copying.ts';
import { copyReceipt } from './receipts.ts';
import { resealTree } from './reseal.ts';
import { copySealed } from './sealed.ts';
import { type CopyPair, select, type WantedPoints } from './selection.ts';

export type CopyOptions = CopyPair & WantedPoints;

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

/**
 * Copies the points that are wanted, each in a session of its own. Of points that are given, the work
 * is that of these and of what differs: neither side is listed whole.
 */
export async function copyPoints(options: CopyOptions): Promise<CopyResult> {
  const { source, target } = options;
  const { run, findings } = collecting(target.run);
  tellPhase(run, 'list-points');
  const selection = await select(run, options);
  await source.index.synchronize(source.store);
  const { wanted, missing, damaged } = selection;
  const carryReceipt = async (id: string): Promise<void> => {
    if (selection.receipts.has(id)) await copyReceipt(run, options, id);
  };
  // Of points whose copy was interrupted before their receipts came.
  for (const point of wanted) if (!missing.includes(point)) await carryReceipt(point.id);
  const copied: string[] = [];
  let chunksNew = 0;
  let bytesStored = 0;
  tellPhase(run, 'copy-chunks');
  // Each point is a session of its own, so that what is copied is there, whatever comes later.
  for (const point of missing) {
    const basesOf = async (item: string): Promise<readonly RecoveryPoint[]> => [
      ...(await selection.trusted(item)),
      ...wanted.filter((each) => each.item === item && copied.includes(each.id)),
    ];
    const isForFew = 'points' in options;
    const outcome = await copyPoint({ run, source, target, isForFew, basesOf }, point);
    if (!outcome) continue;
    copied.push(outcome.id);
    if (damaged.has(outcome.id)) await target.store.delete(damagedName(outcome.id));
    await carryReceipt(outcome.id);
    chunksNew += outcome.chunksNew;
    bytesStored += outcome.bytesStored;
  }
  const pointsPresent = wanted.length - missing.length;
  const sealedAsTheyAre = source.sharesKeysWith(target);
  return { pointsCopied: copied, pointsPresent, chunksNew, bytesStored, sealedAsTheyAre, findings };
}

/** A collection of garbage in the source may move chunks while they are copied, so often. */
const ATTEMPTS_MAX = 5;

/** Undefined for a point that was removed from the source while it was copied. */
async function copyPoint(copying: Copying, point: RecoveryPoint): Promise<Copied | undefined> {
  const { source } = copying;
  for (let attempt = 1; ; attempt++) {
    try {
      return await copyOnce(copying, point);
    } catch (error) {
      if (!mayBeMoved(error)) throw error;
      const filter = { item: point.item };
      const left = await source.points({ filter, onDamaged: () => {}, deleted: true });
      if (!left.some(({ id }) => id === point.id)) return undefined;
      if (attempt === ATTEMPTS_MAX) throw error;
      await source.index.synchronize(source.store);
    }
  }
}

async function copyOnce(copying: Copying, point: RecoveryPoint): Promise<Copied> {
  const { source, target } = copying;
  if (source.sharesKeysWith(target)) return await copySealed(copying, point);
  const unlocked = { source: requireUnlocked(source), target: requireUnlocked(target) };
  const looksUpPacks = leastChunksOf(point) <= (await chunksLookedForMax(copying));
  const session = await unlocked.target.beginSession({ looksUpPacks });
  const copied = await copyIn(session, () => copyOpened(unlocked, point, session));
  return required(copied, 'what is sealed anew is copied whole');
}

function requireUnlocked(repository: Repository): UnlockedRepository {
  if (repository instanceof UnlockedRepository) return repository;
  throw new CofferError('passphrase-missing', { repository: repository.location });
}

function mayBeMoved(error: unknown): boolean {
  return isChunkError(error) || isCofferError(error, 'object-not-found');
}

interface UnlockedPair {
  readonly source: UnlockedRepository;
  readonly target: UnlockedRepository;
}

async function copyOpened(
  { source, target }: UnlockedPair,
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
