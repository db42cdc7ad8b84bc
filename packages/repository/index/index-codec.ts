/** Index objects: the footers of many packs in one object. FORMAT.md, section 10. */
import {
  assert,
  BinaryReader,
  BinaryWriter,
  CofferError,
  digest,
  DIGEST_SIZE_BYTES,
} from '@coffer/base';
import { formatGeneration, parseGeneration } from '../generations/generation.ts';
import {
  PACK_SIZE_BYTES_MAX,
  type PackDescription,
  readFooter,
  writeFooter,
} from '../pack/pack-codec.ts';

const MAGIC = Buffer.from('CFRINDX1', 'latin1');

/**
 * An index object is written when this many chunks wait for one. In a large index each of them
 * changes another page of 4 KiB, which are in memory until the object is added whole.
 */
export const INDEX_ENTRIES_MAX = 8192;

/** Larger ones are not read: those that Coffer writes name two packs' worth of chunks at most. */
export const INDEX_OBJECT_SIZE_BYTES_MAX = 16 * 1024 * 1024;

export interface IndexObject {
  readonly name: string;
  readonly bytes: Buffer;
}

/**
 * The object that describes these packs. Its name holds the generation of who writes it, since a
 * put that seemed to fail may come to effect late, when its packs are swept; and the BLAKE3 of its
 * bytes.
 */
export function encodeIndexObject(
  packs: readonly PackDescription[],
  generation: number,
): IndexObject {
  const writer = new BinaryWriter(1024 * 1024).raw(MAGIC).u32(packs.length);
  for (const pack of packs) {
    assert(pack.pack.length === DIGEST_SIZE_BYTES, 'a pack is named by its digest');
    writer.raw(pack.pack).u32(pack.sizeBytes);
    writeFooter(writer, pack, pack.sizeBytes);
  }
  const bytes = Buffer.from(writer.finish());
  assert(bytes.length <= INDEX_OBJECT_SIZE_BYTES_MAX, 'an index object can be read');
  const name = `index/${formatGeneration(generation)}-${digest(bytes).toString('hex')}`;
  return { name, bytes };
}

/** The generation in the name of an index object, or undefined for another name. */
export function indexGenerationOf(name: string): number | undefined {
  return parseGeneration(/^index\/(\d+)-[0-9a-f]{64}$/.exec(name)?.[1]);
}

/** True when the bytes are those that the name promises. */
export function isIndexObjectIntact({ name, bytes }: IndexObject): boolean {
  return name.endsWith(digest(bytes).toString('hex'));
}

/** Fails with `object-damaged` when the bytes are not those that the name promises. */
export function decodeIndexObject({ name, bytes }: IndexObject): PackDescription[] {
  if (!isIndexObjectIntact({ name, bytes })) {
    throw new CofferError('object-damaged', { object: name, reason: 'its digest does not match' });
  }
  const reader = new BinaryReader(bytes, name);
  if (bytes.length > INDEX_OBJECT_SIZE_BYTES_MAX) throw reader.damaged('it is too large');
  if (!reader.raw(MAGIC.length).equals(MAGIC)) throw reader.damaged('not an index');
  const packs: PackDescription[] = [];
  for (let left = reader.u32(); left > 0; left--) {
    const pack = reader.raw(DIGEST_SIZE_BYTES);
    const sizeBytes = reader.u32();
    if (sizeBytes > PACK_SIZE_BYTES_MAX) throw reader.damaged('a pack is too large');
    packs.push({ pack, sizeBytes, ...readFooter(reader, sizeBytes) });
  }
  reader.end();
  return packs;
}
