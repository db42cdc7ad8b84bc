/** Zstandard at level 1: the fastest that still finds most of what there is. */
import { CofferError } from '@coffer/base';
import { compressedSizeMax, Compressor, Decompressor } from '@coffer/base/zstd.ts';

const LEVEL = 1;
const PLAIN_LENGTH_MIN = 64;

const compressor = new Compressor(LEVEL);
const decompressor = new Decompressor();
let scratch: Buffer = Buffer.alloc(0);

/**
 * The compressed bytes, or undefined when they save less than a fiftieth. They are valid until the
 * next call.
 */
export function compress(plain: Buffer): Buffer | undefined {
  if (plain.length < PLAIN_LENGTH_MIN) return undefined;
  const sizeMax = compressedSizeMax(plain.length);
  if (scratch.length < sizeMax) scratch = Buffer.allocUnsafeSlow(sizeMax);
  const length = compressor.compress(plain, scratch);
  if (length === undefined || length >= plain.length - plain.length / 50) return undefined;
  return scratch.subarray(0, length);
}

/** Returns the length of the plain bytes. Fails with `chunk-damaged`, also when there is no room. */
export function decompressInto(compressed: Buffer, plain: Buffer): number {
  const length = decompressor.decompress(compressed, plain);
  if (length !== undefined) return length;
  throw new CofferError('chunk-damaged', { reason: 'it does not decompress' });
}
