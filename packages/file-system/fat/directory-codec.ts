/**
 * Folders of FAT: records of names of 8 and 3 characters, and before them, in pieces and backwards,
 * long names (Microsoft FAT specification 1.03, 6 and 7).
 */
import { isFileName } from '@coffer/base';
import { codePage437 } from './code-page-codec.ts';
import { ATTRIBUTE, type FatEntry, type FatFolder, RECORD_BYTES } from './folder-codec.ts';
import { dosTimeNs } from './time-codec.ts';

const LONG_NAME = 0x0f;
const END = 0x00;
const DELETED = 0xe5;
const PIECE_COUNT_MAX = 20;
const LOWER_BASE = 0x08;
const LOWER_EXTENSION = 0x10;

/** Pieces of a long name that were met, of the record that follows them. */
interface LongName {
  readonly checksum: number;
  /** Of the piece that has to come next; 0 when the name is whole. */
  readonly nextOrdinal: number;
  readonly text: string;
}

/** Without `.` and `..`. A long name that does not belong to its record is ignored. */
export function parseFatFolder(bytes: Buffer): FatFolder {
  const entries: FatEntry[] = [];
  let damagedCount = 0;
  let label: string | undefined;
  let long: LongName | undefined;
  for (let offset = 0; offset + RECORD_BYTES <= bytes.length; offset += RECORD_BYTES) {
    const record = bytes.subarray(offset, offset + RECORD_BYTES);
    if (record[0] === END) break;
    if (record[0] === DELETED) {
      long = undefined;
    } else if ((record[11]! & 0x3f) === LONG_NAME) {
      long = withPiece(long, record);
    } else {
      const name = nameOf(record, long);
      long = undefined;
      if (isLabel(record)) label ??= labelOf(record);
      if ((record[11]! & ATTRIBUTE.label) !== 0 || isSelfOrParent(record)) continue;
      if (name) entries.push(parseRecord(record, name, offset / RECORD_BYTES));
      else damagedCount++;
    }
  }
  return { entries, damagedCount, label };
}

function parseRecord(record: Buffer, name: Buffer, index: number): FatEntry {
  const attributes = record[11]!;
  const sizeBytes = record.readUInt32LE(28);
  return {
    name,
    isFolder: (attributes & ATTRIBUTE.folder) !== 0,
    isReadOnly: (attributes & ATTRIBUTE.readOnly) !== 0,
    modifiedNs: dosTimeNs(record.readUInt16LE(24), record.readUInt16LE(22)),
    firstCluster: record.readUInt16LE(26) + record.readUInt16LE(20) * 0x1_0000,
    sizeBytes,
    validBytes: sizeBytes,
    isContiguous: false,
    index,
  };
}

/** Undefined when the piece does not continue what was met before. */
function withPiece(long: LongName | undefined, record: Buffer): LongName | undefined {
  const isFirst = (record[0]! & 0x40) !== 0;
  const ordinal = record[0]! & 0x3f;
  const checksum = record[13]!;
  if (ordinal === 0 || ordinal > PIECE_COUNT_MAX) return undefined;
  const text = [
    record.toString('utf16le', 1, 11),
    record.toString('utf16le', 14, 26),
    record.toString('utf16le', 28, 32),
  ].join('');
  if (isFirst) return { checksum, nextOrdinal: ordinal - 1, text: text.split('\0', 1)[0]! };
  if (long?.nextOrdinal !== ordinal || long.checksum !== checksum) return undefined;
  return { checksum, nextOrdinal: ordinal - 1, text: text + long.text };
}

/** The long name, if it is one that can be given, or the short one; undefined without either. */
function nameOf(record: Buffer, long: LongName | undefined): Buffer | undefined {
  if (long?.nextOrdinal === 0 && long.checksum === checksumOf(record)) {
    const name = Buffer.from(long.text, 'utf8');
    if (isFileName(name)) return name;
  }
  const short = shortName(record);
  return isFileName(short) ? short : undefined;
}

/** A label has no content; Windows 95 marks other records of its own in the same way. */
function isLabel(record: Buffer): boolean {
  const kind = record[11]! & (ATTRIBUTE.label | ATTRIBUTE.folder);
  return kind === ATTRIBUTE.label && record.readUInt16LE(26) === 0 && record.readUInt16LE(20) === 0;
}

function labelOf(record: Buffer): string | undefined {
  const text = codePage437(restored(record.subarray(0, 11))).trimEnd();
  return text === '' ? undefined : text;
}

/** A name that begins with the mark of what is deleted is stored with another byte. */
function restored(name: Buffer): Buffer {
  const bytes = Buffer.from(name);
  if (bytes[0] === 0x05) bytes[0] = DELETED;
  return bytes;
}

function shortName(record: Buffer): Buffer {
  const bytes = restored(record.subarray(0, 11));
  const base = codePage437(bytes.subarray(0, 8)).trimEnd();
  const extension = codePage437(bytes.subarray(8)).trimEnd();
  const flags = record[12]!;
  const shownBase = (flags & LOWER_BASE) === 0 ? base : base.toLowerCase();
  const shownExtension = (flags & LOWER_EXTENSION) === 0 ? extension : extension.toLowerCase();
  return Buffer.from(shownExtension === '' ? shownBase : `${shownBase}.${shownExtension}`);
}

function isSelfOrParent(record: Buffer): boolean {
  const name = record.toString('latin1', 0, 11);
  return name === '.          ' || name === '..         ';
}

function checksumOf(record: Buffer): number {
  let sum = 0;
  for (const byte of record.subarray(0, 11)) sum = (((sum & 1) << 7) + (sum >> 1) + byte) & 0xff;
  return sum;
}
