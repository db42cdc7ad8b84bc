/**
 * Folders of exFAT: sets of a record of the file, one of its content, and some of its name
 * (Microsoft exFAT specification 1.00, 6 and 7).
 */
import { isFileName } from '@coffer/base';
import { ATTRIBUTE, type FatEntry, type FatFolder, RECORD_BYTES } from './folder-codec.ts';
import { dosTimeNs, zoneNs } from './time-codec.ts';

const TYPE = { end: 0x00, label: 0x83, file: 0x85, stream: 0xc0, name: 0xc1 } as const;
const NAME_CHARACTERS = 15;
const NO_CHAIN = 0x02;
const LABEL_CHARACTERS_MAX = 11;

/** A set whose checksum or records are wrong is counted as damaged. */
export function parseExfatFolder(bytes: Buffer): FatFolder {
  const entries: FatEntry[] = [];
  let damagedCount = 0;
  let label: string | undefined;
  for (let offset = 0; offset + RECORD_BYTES <= bytes.length;) {
    const type = bytes[offset];
    if (type === TYPE.end) break;
    const recordCount = type === TYPE.file ? 1 + bytes[offset + 1]! : 1;
    if (type === TYPE.file) {
      const set = bytes.subarray(offset, offset + recordCount * RECORD_BYTES);
      const entry = parseSet(set, recordCount, offset / RECORD_BYTES);
      if (entry) entries.push(entry);
      else damagedCount++;
      // Where a set is damaged, its number of records may be.
      if (!entry) offset += RECORD_BYTES;
      else offset += recordCount * RECORD_BYTES;
    } else {
      if (type === TYPE.label) label ??= labelOf(bytes.subarray(offset, offset + RECORD_BYTES));
      offset += RECORD_BYTES;
    }
  }
  return { entries, damagedCount, label };
}

/** Undefined when the volume has none (7.3). */
function labelOf(record: Buffer): string | undefined {
  const count = Math.min(record[1]!, LABEL_CHARACTERS_MAX);
  return count === 0 ? undefined : record.toString('utf16le', 2, 2 + 2 * count);
}

/** Undefined when the set is damaged. */
function parseSet(set: Buffer, recordCount: number, index: number): FatEntry | undefined {
  if (set.length < recordCount * RECORD_BYTES || recordCount < 3) return undefined;
  const stream = set.subarray(RECORD_BYTES, 2 * RECORD_BYTES);
  if (checksumOf(set) !== set.readUInt16LE(2) || stream[0] !== TYPE.stream) return undefined;
  const name = nameOf(set, stream[3]!);
  const sizeBytes = Number(stream.readBigUInt64LE(24));
  if (!name || !Number.isSafeInteger(sizeBytes)) return undefined;
  const attributes = set.readUInt16LE(4);
  const time = dosTimeNs(set.readUInt16LE(14), set.readUInt16LE(12), set[21]);
  return {
    name,
    isFolder: (attributes & ATTRIBUTE.folder) !== 0,
    isReadOnly: (attributes & ATTRIBUTE.readOnly) !== 0,
    modifiedNs: time - zoneNs(set[23]!),
    firstCluster: stream.readUInt32LE(20),
    sizeBytes,
    validBytes: Math.min(sizeBytes, Number(stream.readBigUInt64LE(8))),
    isContiguous: (stream[1]! & NO_CHAIN) !== 0,
    index,
  };
}

function nameOf(set: Buffer, characterCount: number): Buffer | undefined {
  const recordCount = Math.ceil(characterCount / NAME_CHARACTERS);
  const pieces: string[] = [];
  for (let record = 2; record < 2 + recordCount; record++) {
    const start = record * RECORD_BYTES;
    if (set[start] !== TYPE.name) return undefined;
    pieces.push(set.toString('utf16le', start + 2, start + RECORD_BYTES));
  }
  const name = Buffer.from(pieces.join('').slice(0, characterCount), 'utf8');
  return isFileName(name) ? name : undefined;
}

/** Over the whole set, but for the checksum itself (6.3.3). */
function checksumOf(set: Buffer): number {
  let sum = 0;
  for (const [index, byte] of set.entries()) {
    if (index === 2 || index === 3) continue;
    sum = (((sum & 1) << 15) + (sum >> 1) + byte) & 0xffff;
  }
  return sum;
}
