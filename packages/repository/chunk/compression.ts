/**
 * Zstandard, as strong as there is time for: where the store is what everything waits for, processors
 * that stand idle make less for it to take.
 */
import { CofferError } from '@coffer/base';
import { compressedSizeMax, Compressor, Decompressor } from '@coffer/base/zstd.ts';

/** How hard to try: 0 is the fastest that still finds most of what there is. */
export type Effort = 0 | 1 | 2;

const LEVELS: Readonly<Record<Effort, number>> = { 0: 1, 1: 3, 2: 6 };
const PLAIN_LENGTH_MIN = 64;

const compressors: Partial<Record<Effort, Compressor>> = {};
const decompressor = new Decompressor();
let scratch: Buffer = Buffer.alloc(0);

/**
 * The compressed bytes, or undefined when they save less than a fiftieth. They are valid until the
 * next call.
 */
export function compress(plain: Buffer, effort: Effort = 0): Buffer | undefined {
  if (plain.length < PLAIN_LENGTH_MIN) return undefined;
  const sizeMax = compressedSizeMax(plain.length);
  if (scratch.length < sizeMax) scratch = Buffer.allocUnsafeSlow(sizeMax);
  const compressor = (compressors[effort] ??= new Compressor(LEVELS[effort]));
  const length = compressor.compress(plain, scratch);
  if (length === undefined || length >= plain.length - plain.length / 50) return undefined;
  return scratch.subarray(0, length);
}

/** One step harder as long as the store is behind; once it is not, as fast as can be. */
export function nextEffort(effort: Effort, isStoreBehind: boolean): Effort {
  if (!isStoreBehind) return 0;
  return effort === 0 ? 1 : 2;
}

/** Returns the length of the plain bytes. Fails with `chunk-damaged`, also when there is no room. */
export function decompressInto(compressed: Buffer, plain: Buffer): number {
  const length = decompressor.decompress(compressed, plain);
  if (length !== undefined) return length;
  throw new CofferError('chunk-damaged', { reason: 'it does not decompress' });
}
