/**
 * Copying of points between repositories. Between two of one key domain, sealed chunks that are
 * missing are moved as they are, by someone who needs no key. Otherwise they are opened and sealed
 * anew.
 */
import { CofferError } from '@coffer/base';
import { RecordReader } from '../chunk/record-reader.ts';
import { EntrySet } from '../index/entry-set.ts';
import { moveChunks } from '../pack/move-chunks.ts';
import {
  decodePoint,
  type EncodedPoint,
  encodePointAgain,
  type RecoveryPoint,
} from '../recovery-point.ts';
import type { Repository } from '../repository.ts';
import type { Session } from '../session/session.ts';
import { chunksOnlyIn } from '../tree/difference.ts';
import { resealTree } from './reseal.ts';

export interface CopyOptions {
  readonly source: Repository;
  readonly target: Repository;
  /** Which points are wanted. */
  readonly isWanted: (point: RecoveryPoint) => boolean;
  readonly onProgress?: ((bytes: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface CopyResult {
  /** Ids in the target. */
  readonly pointsCopied: readonly string[];
  readonly pointsPresent: number;
  readonly chunksNew: number;
  readonly bytesStored: number;
  /** Whether sealed chunks were moved as they are. */
  readonly sealedAsTheyAre: boolean;
}

export async function copyPoints(options: CopyOptions): Promise<CopyResult> {
  const { source, target, signal } = options;
  const sealedAsTheyAre = source.sharesKeysWith(target);
  await source.index.synchronize(source.store, signal);
  const wanted = (await source.points()).filter(options.isWanted);
  const present = await target.points();
  const missing = wanted.filter((point) => !isPresent(point, present, sealedAsTheyAre));
  const copied: string[] = [];
  let chunksNew = 0;
  let bytesStored = 0;
  // Each point is a session of its own, so that what is copied is there, whatever comes later.
  for (const point of missing) {
    const session = await target.beginSession(signal, { moves: sealedAsTheyAre });
    try {
      const encoded = sealedAsTheyAre
        ? await copySealed(options, point, session, [...present, ...copiedOf(wanted, copied)])
        : await copyOpened(options, point, session);
      await session.commit([encoded]);
      copied.push(encoded.id);
    } catch (error) {
      await session.abandon().catch(() => {
        // The store may be gone; a garbage collection ends the session then.
      });
      throw error;
    }
    chunksNew += session.writer.statistics.chunksNew;
    bytesStored += session.writer.statistics.bytesStored;
  }
  const pointsPresent = wanted.length - missing.length;
  return { pointsCopied: copied, pointsPresent, chunksNew, bytesStored, sealedAsTheyAre };
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

function copiedOf(wanted: readonly RecoveryPoint[], ids: readonly string[]): RecoveryPoint[] {
  return wanted.filter(({ id }) => ids.includes(id));
}

async function copySealed(
  { source, onProgress, signal }: CopyOptions,
  point: RecoveryPoint,
  session: Session,
  present: readonly RecoveryPoint[],
): Promise<EncodedPoint> {
  const { store, index } = source;
  const records = new RecordReader({ store, index, signal });
  const wanted = new EntrySet(index);
  const base = present.filter(({ item }) => item === point.item).at(-1);
  const found = chunksOnlyIn(rootsOf(point), base ? rootsOf(base) : [], { index, records, signal });
  for await (const { id, location } of found) {
    if (!location) throw new CofferError('chunk-missing', { chunk: id.toString('hex') });
    if (!session.writer.isStored(id)) wanted.add(location);
  }
  const packs = [...wanted.packNumbers()].map((packNumber) => index.requiredPack(packNumber));
  const onPackDone = ({ packNumber }: { packNumber: number }): void =>
    onProgress?.(wanted.use(packNumber)?.bytes ?? 0);
  await moveChunks({ source, packs, wanted, writer: session.writer, onPackDone, signal });
  return await readEncoded(source, point);
}

async function copyOpened(
  { source, target, onProgress, signal }: CopyOptions,
  point: RecoveryPoint,
  session: Session,
): Promise<EncodedPoint> {
  const roots: RecoveryPoint['roots'] = [];
  for (const { root, sizeBytes } of point.roots) {
    const resealed = await resealTree(Buffer.from(root, 'hex'), {
      source,
      writer: session.writer,
      onProgress,
      signal,
    });
    roots.push({ root: resealed.toString('hex'), sizeBytes });
  }
  return encodePointAgain(point, roots, source.keys, target.keys.publicKey);
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
