/** Where a chunk lies, as the local index keeps it. */
import type { ChunkKind } from '../chunk/chunk-id.ts';
import { RECORD_LENGTH_MAX } from '../pack/pack-codec.ts';
import { IndexDamage } from './index-damage.ts';

export const LOCATION_SIZE_BYTES = 26;

const FLAG_NODE = 1;
const FLAG_COMPRESSED = 2;
const FLAG_PADDED = 4;
const FLAG_COUNT = 8;

export interface Location {
  readonly packNumber: number;
  /** Place of the entry in the footer of its pack. */
  readonly entryIndex: number;
  readonly kind: ChunkKind;
  readonly compressed: boolean;
  readonly padded: boolean;
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
  bytes.writeUInt32LE(location.plainLength * FLAG_COUNT + flagsOf(location), 22);
  return bytes;
}

function flagsOf({ kind, compressed, padded }: Location): number {
  return (
    (kind === 'node' ? FLAG_NODE : 0) +
    (compressed ? FLAG_COMPRESSED : 0) +
    (padded ? FLAG_PADDED : 0)
  );
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
    kind: plainAndFlags & FLAG_NODE ? 'node' : 'data',
    compressed: (plainAndFlags & FLAG_COMPRESSED) !== 0,
    padded: (plainAndFlags & FLAG_PADDED) !== 0,
    plainLength: Math.floor(plainAndFlags / FLAG_COUNT),
  };
}
