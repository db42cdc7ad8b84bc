/** Zstandard as Node carries it. Level 1: the fastest that still finds most of what there is. */
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { CofferError } from '@coffer/base';

const LEVEL = 1;

/** The compressed bytes, or undefined when they save less than a fiftieth. */
export function compress(plain: Buffer): Buffer | undefined {
  if (plain.length < 64) return undefined;
  const compressed = zstdCompressSync(plain, {
    // One output buffer for the worst case, so that nothing is joined afterwards.
    chunkSize: plain.length + (plain.length >> 8) + 512,
    params: { [constants.ZSTD_c_compressionLevel]: LEVEL },
  });
  return compressed.length < plain.length - plain.length / 50 ? compressed : undefined;
}

/** The plain bytes, which must be exactly `plainLength` many. Fails with `chunk-damaged`. */
export function decompress(compressed: Buffer, plainLength: number): Buffer {
  let plain: Buffer;
  try {
    plain = zstdDecompressSync(compressed, {
      chunkSize: Math.max(64, plainLength),
      maxOutputLength: Math.max(64, plainLength),
    });
  } catch (error) {
    throw new CofferError('chunk-damaged', { reason: 'it does not decompress' }, error);
  }
  if (plain.length !== plainLength) {
    throw new CofferError('chunk-damaged', { reason: 'its length is not as recorded' });
  }
  return plain;
}
