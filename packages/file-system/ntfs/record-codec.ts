/** Records of the master file table: what each says of a file, as attributes. */
import { Fields } from './fields.ts';
import { undoFixups } from './fixup-codec.ts';

export const ATTRIBUTE = {
  standardInformation: 0x10,
  attributeList: 0x20,
  fileName: 0x30,
  securityDescriptor: 0x50,
  volumeName: 0x60,
  data: 0x80,
  indexRoot: 0x90,
  indexAllocation: 0xa0,
  reparsePoint: 0xc0,
} as const;

/** Names a file: the record, and how often the record was used. */
export interface Reference {
  readonly number: number;
  readonly sequence: number;
}

/** A stream that is stored outside of the record, or the part of it that this record maps. */
export interface MappedPart {
  readonly startCluster: number;
  readonly lastCluster: number;
  /** Clusters that are compressed together, as power of two; 0 for none. */
  readonly compressionUnit: number;
  /** These two count in the first part only. */
  readonly sizeBytes: number;
  readonly initializedBytes: number;
  readonly pairs: Fields;
}

export interface Attribute {
  readonly type: number;
  readonly name: string;
  readonly flags: number;
  readonly content: { readonly value: Fields } | { readonly mapped: MappedPart };
}

export interface FileRecord {
  readonly reference: Reference;
  /** The record that this one extends; record 0 when it stands for itself. */
  readonly base: Reference;
  readonly isInUse: boolean;
  readonly isFolder: boolean;
  readonly attributes: readonly Attribute[];
  readonly offset: number;
}

const END = 0xffff_ffff;
const HEADER_BYTES = 24;
const IN_USE = 1;
const FOLDER = 2;

export function parseReference(fields: Fields, at: number): Reference {
  return {
    number: fields.u32(at) + fields.u16(at + 4) * 2 ** 32,
    sequence: fields.u16(at + 6),
  };
}

/** Changes the bytes: it undoes their fixups. */
export function parseRecord(bytes: Buffer, number: number, offset: number): FileRecord {
  const record = new Fields(bytes, `file record ${number}`, offset);
  if (bytes.toString('latin1', 0, 4) !== 'FILE') throw record.damaged('no signature');
  undoFixups(record);
  const flags = record.u16(22);
  const used = record.part(0, record.u32(24));
  return {
    reference: { number, sequence: record.u16(16) },
    base: parseReference(record, 32),
    isInUse: (flags & IN_USE) !== 0,
    isFolder: (flags & FOLDER) !== 0,
    attributes: parseAttributes(used, record.u16(20)),
    offset,
  };
}

function parseAttributes(used: Fields, start: number): Attribute[] {
  const found: Attribute[] = [];
  let at = start;
  while (used.u32(at) !== END) {
    const length = used.u32(at + 4);
    if (length < HEADER_BYTES) throw used.damaged(`an attribute of ${length} bytes at ${at}`);
    found.push(parseAttribute(used.part(at, length)));
    at += length;
  }
  return found;
}

function parseAttribute(fields: Fields): Attribute {
  const isMapped = fields.u8(8) !== 0;
  return {
    type: fields.u32(0),
    name: fields.text(fields.u16(10), 2 * fields.u8(9)),
    flags: fields.u16(12),
    content: isMapped
      ? { mapped: parseMapped(fields) }
      : { value: fields.part(fields.u16(20), fields.u32(16)) },
  };
}

function parseMapped(fields: Fields): MappedPart {
  const startCluster = fields.size64(16);
  // -1, that is 2^64 - 1, ends a stream without clusters.
  const last = BigInt.asIntN(64, fields.u64(24));
  if (last < BigInt(startCluster) - 1n || last > Number.MAX_SAFE_INTEGER) {
    throw fields.damaged(`clusters from ${startCluster} to ${last}`);
  }
  const isFirst = startCluster === 0;
  return {
    startCluster,
    lastCluster: Number(last),
    compressionUnit: fields.u8(34),
    sizeBytes: isFirst ? fields.size64(48) : 0,
    initializedBytes: isFirst ? fields.size64(56) : 0,
    pairs: fields.part(fields.u16(32)),
  };
}
