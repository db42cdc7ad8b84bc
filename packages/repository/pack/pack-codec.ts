/**
 * The layout of a pack: magic and salt, sealed chunks one after the other, footer, trailer. The footer says
 * in clear where each chunk lies and nothing else; the index gathers footers. FORMAT.md, section 9.
 */
import { assert, BinaryReader, BinaryWriter, CofferError, digest } from '@coffer/base';
import { CHUNK_ID_SIZE_BYTES, idKey, kindOf } from '../chunk/chunk-id.ts';
import type { Seal } from '../chunk/seal.ts';
import { CHUNK_SIZE_BYTES_MAX } from '../config.ts';
import { BOX_OVERHEAD_BYTES } from '../sealed-box.ts';

export const PACK_MAGIC = Buffer.from('CFRPACK1', 'latin1');
export const PACK_KEY_SIZE_BYTES = 32;
export const KEY_BOX_SIZE_BYTES = PACK_KEY_SIZE_BYTES + BOX_OVERHEAD_BYTES;
/**
 * Random bytes after the magic. They make the name of every pack new, also when chunks are moved
 * again: a name that was condemned must never be written anew.
 */
export const PACK_SALT_SIZE_BYTES = 16;
export const PACK_HEAD_SIZE_BYTES = PACK_MAGIC.length + PACK_SALT_SIZE_BYTES;

/** Binds a box to its purpose. */
export const KEY_BOX_PURPOSE = Buffer.from('coffer 1 pack key', 'latin1');

/** A larger pack is not read: whoever checks one against its name has it in memory. */
export const PACK_SIZE_BYTES_MAX = 64 * 1024 * 1024;

const TRAILER_SIZE_BYTES = 4 + PACK_MAGIC.length;
const ENTRY_SIZE_BYTES = CHUNK_ID_SIZE_BYTES + 1 + 2 + 4 + 4 + 4 + 4;
const FLAG_COMPRESSED = 1;
const FLAG_PADDED = 2;

/** Sealed node bodies come with their children in clear: a node's record may be this large. */
export const RECORD_LENGTH_MAX = 8 * 1024 * 1024;

/** Coffer ends a pack earlier; the entries of one are added to the local index at once. */
export const PACK_ENTRIES_MAX = 65_536;

/** Where one chunk lies in a pack, and how it was sealed. */
export interface PackEntry extends Seal {
  /** Which of the pack's key boxes holds the key. */
  readonly keyIndex: number;
  /** Offset of the record in the pack, in bytes. */
  readonly offset: number;
  /** Length of the record: for a node its clear head and its sealed body. */
  readonly length: number;
}

export interface PackFooter {
  /** Keys of the chunks, each sealed to the repository's public key. */
  readonly keyBoxes: readonly Buffer[];
  readonly entries: readonly PackEntry[];
}

/** What the index keeps of a pack. */
export interface PackDescription extends PackFooter {
  /** BLAKE3 of the whole file. */
  readonly pack: Buffer;
  readonly sizeBytes: number;
}

export function packObjectName(pack: Buffer): string {
  const hex = pack.toString('hex');
  return `packs/${hex.slice(0, 2)}/${hex}`;
}

/** The pack of such a name; undefined for another one, as of what lies in the folder of others. */
export function parsePackObjectName(name: string): Buffer | undefined {
  const hex = /^packs\/([0-9a-f]{2})\/(\1[0-9a-f]{62})$/.exec(name)?.[2];
  return hex === undefined ? undefined : Buffer.from(hex, 'hex');
}

/** What nobody could read again breaks an invariant. Records end before `recordsEnd` in the pack. */
export function writeFooter(writer: BinaryWriter, footer: PackFooter, recordsEnd: number): void {
  writer.u16(footer.keyBoxes.length);
  for (const box of footer.keyBoxes) {
    assert(box.length === KEY_BOX_SIZE_BYTES, 'a key box holds one key');
    writer.raw(box);
  }
  writer.u32(footer.entries.length);
  for (const entry of footer.entries) {
    const problem = impossible(entry, footer.keyBoxes.length, recordsEnd);
    assert(problem === undefined, `a footer names chunks that can be read, not ${problem}`);
    const flags = (entry.compressed ? FLAG_COMPRESSED : 0) | (entry.padded ? FLAG_PADDED : 0);
    writer.raw(entry.id).u8(flags).u16(entry.keyIndex).u32(entry.ordinal);
    writer.u32(entry.offset).u32(entry.length).u32(entry.plainLength);
  }
}

export function readFooter(reader: BinaryReader, sizeBytesMax: number): PackFooter {
  const keyBoxes: Buffer[] = [];
  for (let left = reader.u16(); left > 0; left--) keyBoxes.push(reader.raw(KEY_BOX_SIZE_BYTES));
  const entryCount = reader.u32();
  if (entryCount * ENTRY_SIZE_BYTES > reader.remaining) throw reader.damaged('too many entries');
  if (entryCount > PACK_ENTRIES_MAX) throw reader.damaged('too many entries');
  const entries: PackEntry[] = [];
  const ids = new Set<string>();
  for (let index = 0; index < entryCount; index++) {
    const entry = readEntry(reader, keyBoxes.length, sizeBytesMax);
    entries.push(entry);
    ids.add(idKey(entry.id));
  }
  // No writer does, and what a pack says often would cost each client.
  if (ids.size < entries.length) throw reader.damaged('it names a chunk twice');
  return { keyBoxes, entries };
}

function readEntry(reader: BinaryReader, keyCount: number, sizeBytesMax: number): PackEntry {
  const id = reader.raw(CHUNK_ID_SIZE_BYTES);
  const flags = reader.u8();
  const keyIndex = reader.u16();
  const ordinal = reader.u32();
  const offset = reader.u32();
  const length = reader.u32();
  const plainLength = reader.u32();
  if (flags > FLAG_PADDED) throw reader.damaged('an entry is impossible');
  const [compressed, padded] = [flags === FLAG_COMPRESSED, flags === FLAG_PADDED];
  const seal = { id, kind: kindOf(id), compressed, padded, ordinal, plainLength };
  const entry = { ...seal, keyIndex, offset, length };
  const problem = impossible(entry, keyCount, sizeBytesMax);
  if (problem !== undefined) throw reader.damaged(problem);
  return entry;
}

/** Why a pack cannot have such an entry; who writes it and who reads it ask the same. */
function impossible(entry: PackEntry, keyCount: number, recordsEnd: number): string | undefined {
  const { id, kind, compressed, padded, keyIndex, offset, length, plainLength } = entry;
  const lengthMax = kind === 'node' ? RECORD_LENGTH_MAX : CHUNK_SIZE_BYTES_MAX;
  if (id.length !== CHUNK_ID_SIZE_BYTES || keyIndex >= keyCount) return 'an entry is impossible';
  if (kind !== kindOf(id) || (compressed && padded)) return 'an entry is impossible';
  const isInside = offset + length <= recordsEnd && Math.max(length, plainLength) <= lengthMax;
  return isInside ? undefined : 'an entry lies outside of its pack';
}

/** How long the footer of a pack is. */
export function footerSizeBytes({ keyBoxes, entries }: PackFooter): number {
  return 2 + keyBoxes.length * KEY_BOX_SIZE_BYTES + 4 + entries.length * ENTRY_SIZE_BYTES;
}

/** Footer and trailer, as they end a pack. */
export function encodePackEnd(footer: PackFooter, footerStart: number): Buffer {
  const writer = new BinaryWriter(footer.entries.length * ENTRY_SIZE_BYTES + 1024);
  writeFooter(writer, footer, footerStart);
  const footerLength = writer.length;
  return writer.u32(footerLength).raw(PACK_MAGIC).finish();
}

/** Reads the footer of a whole pack; fails with `object-damaged`. */
export function decodePack(bytes: Buffer, name: string): PackFooter {
  const damaged = (reason: string): CofferError =>
    new CofferError('object-damaged', { object: name, reason });
  const trailer = bytes.length - TRAILER_SIZE_BYTES;
  if (trailer < PACK_HEAD_SIZE_BYTES || !bytes.subarray(0, 8).equals(PACK_MAGIC)) {
    throw damaged('not a pack');
  }
  if (!bytes.subarray(trailer + 4).equals(PACK_MAGIC)) throw damaged('it has no trailer');
  const footerLength = bytes.readUInt32LE(trailer);
  const footerStart = trailer - footerLength;
  if (footerStart < PACK_HEAD_SIZE_BYTES) throw damaged('its footer is too long');
  const reader = new BinaryReader(bytes.subarray(footerStart, trailer), name);
  const footer = readFooter(reader, footerStart);
  reader.end();
  return footer;
}

/** So much of the end of a pack is fetched at first: it holds the footers of most packs. */
export const PACK_END_BYTES_READ = 64 * 1024;

/** Reads the footer of a pack that is not here whole; fails with `object-damaged`. */
export async function decodePackEnd(
  readEnd: (length: number) => Promise<Buffer>,
  sizeBytes: number,
  name: string,
  lengthFirst: number,
): Promise<PackFooter> {
  const damaged = (reason: string): CofferError =>
    new CofferError('object-damaged', { object: name, reason });
  if (sizeBytes < PACK_HEAD_SIZE_BYTES + TRAILER_SIZE_BYTES) throw damaged('not a pack');
  if (sizeBytes > PACK_SIZE_BYTES_MAX) throw damaged('it is too large');
  const end = await readEnd(Math.min(lengthFirst, sizeBytes));
  if (!end.subarray(-PACK_MAGIC.length).equals(PACK_MAGIC)) throw damaged('it has no trailer');
  const footerLength = end.readUInt32LE(end.length - TRAILER_SIZE_BYTES);
  const footerStart = sizeBytes - TRAILER_SIZE_BYTES - footerLength;
  if (footerStart < PACK_HEAD_SIZE_BYTES) throw damaged('its footer is too long');
  const needed = footerLength + TRAILER_SIZE_BYTES;
  const whole = needed <= end.length ? end : await readEnd(needed);
  const reader = new BinaryReader(whole.subarray(-needed, -TRAILER_SIZE_BYTES), name);
  const footer = readFooter(reader, footerStart);
  reader.end();
  return footer;
}

/** True when the bytes are those that the pack's name promises. */
export function isPackIntact(bytes: Buffer, pack: Buffer): boolean {
  return digest(bytes).equals(pack);
}
