/** Streams: what an attribute holds, whether in its record, in clusters, or compressed. */
import type { Attribute, MappedPart } from './record-codec.ts';
import { damaged, unsupported } from './fields.ts';
import { decompressLznt1 } from './lznt1-codec.ts';
import { endOf, findRun, parseRuns, type Run } from './runs-codec.ts';
import { readAt, readInto, type Volume } from './volume.ts';

export interface Stream {
  readonly type: number;
  readonly name: string;
  readonly sizeBytes: number;
  readonly isEncrypted: boolean;
  readonly content:
    | { readonly value: Buffer }
    | {
        readonly runs: readonly Run[];
        /** What comes after was never written: it reads as zeroes. */
        readonly initializedBytes: number;
        /** Clusters that are compressed together; 0 where nothing is compressed. */
        readonly unitClusters: number;
      };
  /** Of the record that begins it, for errors. */
  readonly offset: number;
}

const COMPRESSED = 0x00ff;
const ENCRYPTED = 0x4000;
/** What is compressed together is 64 KiB; this is more than any volume has. */
const UNIT_BYTES_MAX = 1024 * 1024;
/** So many pieces of one file take some 100 MB. More than a million were never seen. */
const RUN_COUNT_MAX = 1024 * 1024;

/** Joins the parts of a stream, which may be in several records. Its size is that of the first. */
export function streamOf(volume: Volume, parts: readonly Attribute[], offset: number): Stream {
  const { type, name, flags, content } = parts[0]!;
  const isEncrypted = (flags & ENCRYPTED) !== 0;
  const base = { type, name, isEncrypted, offset };
  if ('value' in content) {
    return { ...base, sizeBytes: content.value.length, content: { value: content.value.bytes } };
  }
  const mapped = parts.flatMap((part) => ('mapped' in part.content ? [part.content.mapped] : []));
  const { sizeBytes, initializedBytes } = content.mapped;
  const runs = joinRuns(volume, mapped);
  const unitClusters = unitOf(volume, flags, content.mapped);
  return { ...base, sizeBytes, content: { runs, initializedBytes, unitClusters } };
}

function joinRuns({ geometry }: Volume, parts: readonly MappedPart[]): Run[] {
  const runs: Run[] = [];
  for (const { startCluster, lastCluster, pairs } of parts) {
    const next = endOf(runs);
    if (startCluster !== next) throw pairs.damaged(`cluster ${next} of a stream is not mapped`);
    const part = parseRuns(pairs, startCluster, geometry.clusterCount);
    const end = part.length > 0 ? endOf(part) : startCluster;
    if (end !== lastCluster + 1) throw pairs.damaged(`runs to ${end}, not to ${lastCluster}`);
    if (part.length === 0 && parts.length > 1) throw pairs.damaged('a part maps nothing');
    if (runs.length + part.length > RUN_COUNT_MAX) throw pairs.damaged('too many runs');
    for (const run of part) runs.push(run);
  }
  return runs;
}

function unitOf({ geometry }: Volume, flags: number, part: MappedPart): number {
  if ((flags & COMPRESSED) === 0 || part.compressionUnit === 0) return 0;
  const clusters = 2 ** part.compressionUnit;
  if (clusters * geometry.clusterBytes > UNIT_BYTES_MAX) {
    throw part.pairs.damaged(`${clusters} clusters are compressed together`);
  }
  return clusters;
}

/**
 * Returns how many bytes there were: fewer than asked for at the end only. Fails with
 * `file-system-unsupported` where they are encrypted, and with `file-system-damaged`.
 */
export async function readStream(
  volume: Volume,
  stream: Stream,
  offset: number,
  target: Uint8Array,
): Promise<number> {
  const length = Math.max(0, Math.min(target.length, stream.sizeBytes - offset));
  if (length === 0) return 0;
  if (stream.isEncrypted) throw unsupported('the file is encrypted (EFS)');
  const { content } = stream;
  if ('value' in content) {
    target.set(content.value.subarray(offset, offset + length));
    return length;
  }
  const written = Math.max(0, Math.min(length, content.initializedBytes - offset));
  target.fill(0, written, length);
  const read = content.unitClusters > 0 ? readUnits : readRuns;
  await read(volume, stream, offset, target.subarray(0, written));
  return length;
}

/** The whole of a small stream, of which it is known how large it may be. */
export async function readWhole(
  volume: Volume,
  stream: Stream,
  sizeBytesMax: number,
): Promise<Buffer> {
  if (stream.sizeBytes > sizeBytesMax) {
    throw damaged('stream', stream.offset, `${stream.sizeBytes} bytes, over ${sizeBytesMax}`);
  }
  const bytes = Buffer.alloc(stream.sizeBytes);
  await readStream(volume, stream, 0, bytes);
  return bytes;
}

async function readRuns(
  { disk, geometry }: Volume,
  stream: Stream,
  offset: number,
  target: Uint8Array,
): Promise<void> {
  const runs = runsOf(stream);
  const { clusterBytes } = geometry;
  let index = findRun(runs, Math.floor(offset / clusterBytes));
  for (let done = 0; done < target.length; index++) {
    const run = runs[index];
    if (!run) throw damaged('stream', stream.offset, `nothing is mapped at ${offset + done}`);
    const start = offset + done - run.start * clusterBytes;
    const length = Math.min(target.length - done, run.count * clusterBytes - start);
    const part = target.subarray(done, done + length);
    if (run.place === undefined) part.fill(0);
    else await readInto(disk, run.place * clusterBytes + start, part, 'stream');
    done += length;
  }
}

async function readUnits(
  volume: Volume,
  stream: Stream,
  offset: number,
  target: Uint8Array,
): Promise<void> {
  const { clusterBytes } = volume.geometry;
  const unitClusters = 'runs' in stream.content ? stream.content.unitClusters : 0;
  const unitBytes = unitClusters * clusterBytes;
  for (let done = 0; done < target.length;) {
    const unitIndex = Math.floor((offset + done) / unitBytes);
    const start = offset + done - unitIndex * unitBytes;
    const part = target.subarray(done, done + unitBytes - start);
    const pieces = piecesOf(runsOf(stream), unitIndex * unitClusters, unitClusters);
    const stored = pieces.reduce((sum, { count }) => sum + count, 0);
    if (stored === 0) part.fill(0);
    else if (stored === unitClusters) await readRuns(volume, stream, offset + done, part);
    else part.set((await readUnit(volume, pieces, unitBytes)).subarray(start, start + part.length));
    done += part.length;
  }
}

/** A compressed unit: the clusters that it has are its compressed bytes; the others are a hole. */
async function readUnit(
  { disk, geometry }: Volume,
  pieces: readonly Piece[],
  unitBytes: number,
): Promise<Buffer> {
  const { clusterBytes } = geometry;
  const stored: Buffer[] = [];
  for (const { place, count } of pieces) {
    stored.push(await readAt(disk, place * clusterBytes, count * clusterBytes, 'stream'));
  }
  const unit = Buffer.allocUnsafe(unitBytes);
  decompressLznt1(Buffer.concat(stored), unit, pieces[0]!.place * clusterBytes);
  return unit;
}

/** Clusters on the volume. */
interface Piece {
  readonly place: number;
  readonly count: number;
}

/** The clusters on the volume that `count` clusters of the stream have; holes have none. */
function piecesOf(runs: readonly Run[], start: number, count: number): Piece[] {
  const pieces: Piece[] = [];
  for (let index = findRun(runs, start); index < runs.length; index++) {
    const run = runs[index]!;
    if (run.start >= start + count) break;
    const from = Math.max(run.start, start);
    const to = Math.min(run.start + run.count, start + count);
    if (run.place !== undefined) {
      pieces.push({ place: run.place + from - run.start, count: to - from });
    }
  }
  return pieces;
}

function runsOf({ content }: Stream): readonly Run[] {
  return 'runs' in content ? content.runs : [];
}
