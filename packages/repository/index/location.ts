/** Where a chunk lies, as the local index keeps it. */
import type { ChunkKind } from '../chunk/chunk-id.ts';
import { RECORD_LENGTH_MAX } from '../pack/pack-codec.ts';
import { IndexDamage } from './index-damage.ts';

export const LOCATION_SIZE_BYTES = 26;

export interface Location {
  readonly packNumber: number;
  /** Place of the entry in the footer of its pack. */
  readonly entryIndex: number;
  readonly kind: ChunkKind;
  readonly compressed: boolean;
  readonly keyIndex: number;
  readonly ordinal: number;
  readonly offset: number;
  readonly length: number;
  readonly plainLength: number;
}

export function writeLocation(location: Location): Buffer {
  const bytes = Buffer.allocUnsafe(LOCATION_SIZE_BYTES);
  bytes.writeUInt32LE(location.packNumber, 0);
  bytes.writeUInt16LE(location.keyIndex, 4);
  bytes.writeUInt32LE(location.entryIndex, 6);
  bytes.writeUInt32LE(location.ordinal, 10);
  bytes.writeUInt32LE(location.offset, 14);
  bytes.writeUInt32LE(location.length, 18);
  const flags = (location.kind === 'node' ? 1 : 0) + (location.compressed ? 2 : 0);
  bytes.writeUInt32LE(location.plainLength * 4 + flags, 22);
  return bytes;
}

/** Fails with `IndexDamage` for what no index object can have said. */
export function readLocation(bytes: Buffer, start: number): Location {
  if (start + LOCATION_SIZE_BYTES > bytes.length) throw new IndexDamage('a location is cut short');
  const location = decodeLocation(bytes, start);
  if (Math.max(location.length, location.plainLength) > RECORD_LENGTH_MAX) {
    throw new IndexDamage('a chunk is impossibly long');
  }
  return location;
}

function decodeLocation(bytes: Buffer, start: number): Location {
  const plainAndFlags = bytes.readUInt32LE(start + 22);
  return {
    packNumber: bytes.readUInt32LE(start),
    keyIndex: bytes.readUInt16LE(start + 4),
    entryIndex: bytes.readUInt32LE(start + 6),
    ordinal: bytes.readUInt32LE(start + 10),
    offset: bytes.readUInt32LE(start + 14),
    length: bytes.readUInt32LE(start + 18),
    kind: plainAndFlags & 1 ? 'node' : 'data',
    compressed: (plainAndFlags & 2) !== 0,
    plainLength: plainAndFlags >>> 2,
  };
}
