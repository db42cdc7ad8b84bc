/**
 * Files that Windows compressed as a whole ("CompactOS", `compact /exe`): the content is in a stream
 * beside the file, in pieces of a fixed size, each compressed or stored; a table with the places of
 * all but the first piece is in front of them.
 */
import { damaged, Fields, unsupported } from './fields.ts';
import type { CompressionAlgorithm } from './reparse-codec.ts';
import { readStream, type Stream } from './stream.ts';
import type { Volume } from './volume.ts';
import { decompressXpress } from './xpress-codec.ts';

export const COMPRESSED_CONTENT = 'WofCompressedData';

const PIECE_BYTES: Readonly<Record<CompressionAlgorithm, number | undefined>> = {
  xpress4k: 4096,
  xpress8k: 8192,
  xpress16k: 16_384,
  lzx: undefined,
};
const STRUCTURE = 'compressed file';
/** Places in larger files have 64 bits. */
const SMALL_FILE_BYTES = 2 ** 32;

export interface CompressedFile {
  readonly algorithm: CompressionAlgorithm;
  readonly sizeBytes: number;
  readonly stored: Stream;
}

/** As `readStream`. Fails with `file-system-unsupported` for LZX. */
export async function readCompressedFile(
  volume: Volume,
  file: CompressedFile,
  offset: number,
  target: Uint8Array,
): Promise<number> {
  const { algorithm, sizeBytes } = file;
  const pieceBytes = PIECE_BYTES[algorithm];
  if (!pieceBytes) throw unsupported(`the file is compressed by ${algorithm}`);
  const length = Math.max(0, Math.min(target.length, sizeBytes - offset));
  if (length === 0) return 0;
  const first = Math.floor(offset / pieceBytes);
  const last = Math.floor((offset + length - 1) / pieceBytes);
  const places = await readPlaces(volume, file, pieceBytes, { first, last });
  for (let index = first; index <= last; index++) {
    const start = index * pieceBytes;
    const piece = Buffer.allocUnsafe(Math.min(pieceBytes, sizeBytes - start));
    await readPiece(volume, file, places[index - first]!, places[index - first + 1]!, piece);
    const from = Math.max(offset, start);
    const part = piece.subarray(from - start, offset + length - start);
    target.set(part, from - offset);
  }
  return length;
}

/** Where the pieces `first` to `last` begin in the stream, and where the last of them ends. */
async function readPlaces(
  volume: Volume,
  { sizeBytes, stored }: CompressedFile,
  pieceBytes: number,
  { first, last }: { first: number; last: number },
): Promise<number[]> {
  const entryBytes = sizeBytes < SMALL_FILE_BYTES ? 4 : 8;
  const entryCount = Math.ceil(sizeBytes / pieceBytes) - 1;
  // Entry `index` is the place of piece `index + 1`.
  const from = Math.max(0, first - 1);
  const to = Math.min(entryCount, last + 1);
  const bytes = Buffer.alloc((to - from) * entryBytes);
  const count = await readStream(volume, stored, from * entryBytes, bytes);
  const table = new Fields(bytes.subarray(0, count), STRUCTURE, stored.offset);
  const tableBytes = entryCount * entryBytes;
  const places: number[] = first === 0 ? [tableBytes] : [];
  for (let at = 0; at < bytes.length; at += entryBytes) {
    places.push(tableBytes + (entryBytes === 4 ? table.u32(at) : table.size64(at)));
  }
  if (last === entryCount) places.push(stored.sizeBytes);
  return places;
}

/** A piece that could not be made smaller is stored as it is. */
async function readPiece(
  volume: Volume,
  { stored }: CompressedFile,
  start: number,
  end: number,
  piece: Buffer,
): Promise<void> {
  const length = end - start;
  if (length <= 0 || length > piece.length || end > stored.sizeBytes) {
    throw damaged(STRUCTURE, stored.offset, `a piece from ${start} to ${end}`);
  }
  const bytes = length === piece.length ? piece : Buffer.allocUnsafe(length);
  await readStream(volume, stored, start, bytes);
  if (bytes !== piece) decompressXpress(bytes, piece, stored.offset);
}
