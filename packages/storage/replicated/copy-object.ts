/** Objects that pass from unit to unit, and whether two units hold the same. */
import { CofferError, Digest, digest, isCofferError } from '@coffer/base';
import type { CallOptions, ObjectInfo, ObjectStore } from '../object-store.ts';

/** What is larger passes in pieces of this size. */
const PIECE_SIZE_BYTES = 8 * 1024 * 1024;

export interface Pair {
  readonly source: ObjectStore;
  readonly target: ObjectStore;
}

/** Fails with `object-exists` where the target has one of the name. `gone`: the source has none. */
export async function copyObject(
  name: string,
  { source, target }: Pair,
  options?: CallOptions,
): Promise<'copied' | 'gone'> {
  const info = await source.stat(name, options);
  if (!info) return 'gone';
  try {
    if (info.sizeBytes <= PIECE_SIZE_BYTES) {
      const bytes = await source.get(name, { ...options, sizeBytesMax: info.sizeBytes });
      await target.put(name, bytes, options);
    } else {
      const whole = { sizeBytes: info.sizeBytes, digest: await digestOf(source, info, options) };
      await target.putStream(name, piecesOf(source, info, options), { ...options, ...whole });
    }
    return 'copied';
  } catch (error) {
    if (isChange(error)) return 'gone';
    throw error;
  }
}

/**
 * Whether both hold the same bytes; packs and index objects of one name and size are the same.
 * `changing`: one of them has none now.
 */
export async function compareObject(
  name: string,
  { source, target }: Pair,
  options?: CallOptions,
): Promise<'same' | 'different' | 'changing'> {
  const infos = await Promise.all([source.stat(name, options), target.stat(name, options)]);
  const [one, other] = infos;
  if (!one || !other) return 'changing';
  if (one.sizeBytes !== other.sizeBytes) return 'different';
  if (promisedDigest(name) !== undefined) return 'same';
  try {
    const digests = [digestOf(source, one, options), digestOf(target, other, options)] as const;
    const [ofOne, ofOther] = await Promise.all(digests);
    return ofOne.equals(ofOther) ? 'same' : 'different';
  } catch (error) {
    if (isChange(error)) return 'changing';
    throw error;
  }
}

/** The digest that the name of a pack or an index object promises; undefined for other names. */
export function promisedDigest(name: string): string | undefined {
  return /^(?:packs\/[0-9a-f]{2}\/|index\/\d{8,}-)([0-9a-f]{64})$/.exec(name)?.[1];
}

/** Fails with `object-damaged` for bytes that are not what their name promises. */
export function checkPromise(name: string, bytes: Buffer): void {
  if (promisedDigest(name) === digest(bytes).toString('hex')) return;
  throw new CofferError('object-damaged', { object: name, reason: 'its digest does not match' });
}

async function digestOf(
  store: ObjectStore,
  info: ObjectInfo,
  options: CallOptions | undefined,
): Promise<Buffer> {
  const promised = promisedDigest(info.name);
  if (promised !== undefined) return Buffer.from(promised, 'hex');
  const hasher = new Digest();
  for await (const piece of piecesOf(store, info, options)) hasher.update(piece);
  return hasher.finish();
}

async function* piecesOf(
  store: ObjectStore,
  { name, sizeBytes }: ObjectInfo,
  options: CallOptions | undefined,
): AsyncGenerator<Buffer> {
  for (let offset = 0; offset < sizeBytes; offset += PIECE_SIZE_BYTES) {
    const length = Math.min(PIECE_SIZE_BYTES, sizeBytes - offset);
    yield await store.getRange(name, { offset, length }, options);
  }
}

/** The object was deleted, or is another one, since it was looked at. */
function isChange(error: unknown): boolean {
  const codes = ['object-not-found', 'range-invalid', 'object-damaged', 'upload-damaged'];
  return isCofferError(error) && codes.includes(error.code);
}
