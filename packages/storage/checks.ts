/** Checks of arguments that every adapter makes before it does anything. */
import { CofferError, assert } from '@coffer/base';
import { type ByteRange, type GetOptions, type ObjectStore, isObjectName } from './object-store.ts';

/** Fails with `object-name-invalid` where `name` is not the name of an object. */
export function checkName(name: string): void {
  if (!isObjectName(name)) throw new CofferError('object-name-invalid', { name });
}

/** Fails with `object-name-invalid` where no name can begin with `prefix`. */
export function checkPrefix(prefix: string): void {
  const canBegin = prefix === '' || isObjectName(prefix) || isObjectName(`${prefix}0`);
  if (!canBegin) throw new CofferError('object-name-invalid', { prefix });
}

/** States that a range has whole, non-negative numbers: ranges are computed, never read. */
export function checkRange(range: ByteRange): void {
  assert(Number.isSafeInteger(range.offset) && range.offset >= 0, 'an offset is a whole number');
  assert(Number.isSafeInteger(range.length) && range.length >= 0, 'a length is a whole number');
}

/** The error of a range that reaches beyond the end of an object. */
export function rangeInvalid(name: string, range: ByteRange, cause?: unknown): CofferError {
  return new CofferError('range-invalid', { name, ...range }, cause);
}

/** Fails with `object-damaged` for an object that is larger than anything Coffer stores there. */
export function checkSize(name: string, sizeBytes: number, { sizeBytesMax }: GetOptions): void {
  if (sizeBytes <= sizeBytesMax) return;
  const reason = 'it is too large';
  throw new CofferError('object-damaged', { object: name, reason, sizeBytes, sizeBytesMax });
}

/** The error of a store that has no object lock. */
export function withoutLock({ location }: ObjectStore): CofferError {
  return new CofferError('store-without-lock', { location });
}

/** Reads a range of no bytes: HTTP has no such range, but the object and the offset have to be. */
export async function readNothing(
  store: Pick<ObjectStore, 'stat'>,
  name: string,
  offset: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const info = await store.stat(name, { signal });
  if (!info) throw new CofferError('object-not-found', { name });
  if (offset > info.sizeBytes) throw rangeInvalid(name, { offset, length: 0 });
}
