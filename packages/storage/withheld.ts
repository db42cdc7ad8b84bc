/**
 * Bytes on their way into a store, whose end is kept back until all of them are known to be right.
 * A server that has not seen the end of an object has no object: one whose digest does not fit never
 * appears, and whatever its size, no more than the end of it is in memory.
 */
import { CofferError, Digest } from '@coffer/base';
import type { StreamOptions } from './object-store.ts';

export const WITHHELD_SIZE_BYTES = 64 * 1024;

/**
 * Gives the pieces of `source` on, the last 64 KiB when the digest fits. Fails with `upload-damaged`
 * where size or digest do not.
 */
export async function* withheld(
  name: string,
  source: AsyncIterable<Uint8Array>,
  { sizeBytes, digest }: Pick<StreamOptions, 'sizeBytes' | 'digest'>,
): AsyncGenerator<Uint8Array> {
  const releasable = Math.max(0, sizeBytes - WITHHELD_SIZE_BYTES);
  const hasher = new Digest();
  const end: Uint8Array[] = [];
  let received = 0;
  for await (const piece of source) {
    hasher.update(piece);
    const split = Math.min(piece.length, Math.max(0, releasable - received));
    received += piece.length;
    if (received > sizeBytes) throw damaged(name, 'more bytes than announced');
    if (split > 0) yield piece.subarray(0, split);
    if (split < piece.length) end.push(piece.subarray(split));
  }
  if (received < sizeBytes) throw damaged(name, 'fewer bytes than announced');
  if (!hasher.finish().equals(digest)) throw damaged(name, 'its digest does not match');
  if (end.length > 0) yield Buffer.concat(end);
}

/** All pieces in one, for what is small or for stores that take an object whole. */
export async function gathered(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(source));
}

function damaged(name: string, reason: string): CofferError {
  return new CofferError('upload-damaged', { object: name, reason });
}
