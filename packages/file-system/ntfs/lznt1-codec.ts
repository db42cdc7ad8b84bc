/** LZNT1, by which NTFS compresses clusters (MS-XCA 2.5). */
import { damaged } from './fields.ts';

/** What a chunk holds, uncompressed. */
const CHUNK_BYTES = 4096;
const STRUCTURE = 'compressed clusters';

/**
 * Decompresses into `target`. What the chunks do not fill is zero. `offset` is where the bytes are
 * on the volume, for errors. Fails with `file-system-damaged`.
 */
export function decompressLznt1(source: Buffer, target: Buffer, offset: number): void {
  let at = 0;
  let start = 0;
  for (; start < target.length && at + 2 <= source.length; start += CHUNK_BYTES) {
    const header = source.readUInt16LE(at);
    if (header === 0) break;
    const end = at + 3 + (header & 0xfff);
    if (end > source.length) throw damaged(STRUCTURE, offset + at, 'a chunk ends too late');
    const chunk = target.subarray(start, start + CHUNK_BYTES);
    const data = source.subarray(at + 2, end);
    if (header & 0x8000) {
      const problem = decompressChunk(data, chunk);
      if (problem) throw damaged(STRUCTURE, offset + at, problem);
    } else {
      chunk.fill(0, data.copy(chunk));
    }
    at = end;
  }
  target.fill(0, Math.min(start, target.length));
}

/** Returns what is wrong, if something is. */
function decompressChunk(source: Buffer, target: Buffer): string | undefined {
  let from = 0;
  let to = 0;
  while (from < source.length) {
    const tags = source[from++]!;
    for (let bit = 0; bit < 8 && from < source.length; bit++) {
      if ((tags & (1 << bit)) === 0) {
        if (to >= target.length) return 'a chunk holds too much';
        target[to++] = source[from++]!;
        continue;
      }
      if (from + 2 > source.length) return 'a chunk ends in a pair';
      const pair = source[from]! | (source[from + 1]! << 8);
      from += 2;
      const lengthBits = lengthBitsAt(to);
      const distance = (pair >> lengthBits) + 1;
      const length = (pair & ((1 << lengthBits) - 1)) + 3;
      if (distance > to) return 'a pair leads before its chunk';
      if (to + length > target.length) return 'a chunk holds too much';
      for (const end = to + length; to < end; to++) target[to] = target[to - distance]!;
    }
  }
  target.fill(0, to);
  return undefined;
}

/** The farther into the chunk, the more bits a distance needs. */
function lengthBitsAt(position: number): number {
  let bits = 12;
  for (let reach = 16; reach < position; reach *= 2) bits--;
  return bits;
}
