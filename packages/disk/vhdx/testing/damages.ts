/** What may be wrong with an image, and what has to be said of it. */
import { type ErrorCode, seededRandom } from '@coffer/base';
import { encodeGuid, randomGuid } from '../../guid-codec.ts';
import { HEADER_OFFSETS } from '../header-codec.ts';
import {
  BAT_OFFSET,
  ITEMS_OFFSET,
  LOG_OFFSET,
  METADATA_OFFSET,
  patchHeaders,
  patchRegionTables,
} from './patch.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const random = seededRandom(42);

export interface Damage {
  readonly name: string;
  /** Of which sample; `dynamic` by default. */
  readonly sample?: 'differencing';
  readonly patch: (image: Buffer) => Buffer | void;
  readonly code?: ErrorCode;
  readonly structure: string;
  readonly offset?: number;
}

const entryAt = (image: Buffer, index: number): Buffer =>
  image.subarray(BAT_OFFSET + index * 8, BAT_OFFSET + (index + 1) * 8);
const setEntry = (image: Buffer, index: number, value: bigint): void => {
  entryAt(image, index).writeBigUInt64LE(value);
};
export const itemEntry = (image: Buffer, index: number): Buffer =>
  image.subarray(METADATA_OFFSET + 32 + index * 32, METADATA_OFFSET + 64 + index * 32);
const items = (image: Buffer): Buffer => image.subarray(ITEMS_OFFSET);
/** Behind file parameters, size, id and sectors. */
const LOCATOR_OFFSET = 8 + 8 + 16 + 4 + 4;

export const DAMAGES: readonly Damage[] = [
  {
    name: 'another signature',
    patch: (image) => image.fill('x', 0, 1),
    structure: 'file type identifier',
    offset: 0,
  },
  {
    name: 'both headers torn',
    patch: (image) => HEADER_OFFSETS.forEach((offset) => image.fill(1, offset + 50, offset + 60)),
    structure: 'header',
    offset: 64 * KIB,
  },
  {
    name: 'a newer version',
    patch: (image) => patchHeaders(image, (header) => header.writeUInt16LE(2, 66)),
    code: 'image-unsupported',
    structure: 'header',
  },
  {
    name: 'a log at an odd place',
    patch: (image) => patchHeaders(image, (header) => header.writeBigUInt64LE(12_345n, 72)),
    structure: 'header',
  },
  {
    name: 'a log in the header section',
    patch: (image) => patchHeaders(image, (header) => header.writeBigUInt64LE(0n, 72)),
    structure: 'header',
  },
  {
    name: 'a log beyond the end',
    patch: (image) => patchHeaders(image, (header) => header.writeBigUInt64LE(2n ** 40n, 72)),
    structure: 'log',
    offset: 2 ** 40,
  },
  {
    name: 'a log in the metadata',
    patch: (image) =>
      patchHeaders(image, (header) => header.writeBigUInt64LE(BigInt(METADATA_OFFSET), 72)),
    structure: 'metadata',
  },
  {
    name: 'a log to replay of 3 GiB',
    patch: (image) =>
      patchHeaders(image, (header) => {
        encodeGuid(randomGuid(random)).copy(header, 48);
        header.writeUInt32LE(3 * KIB * MIB, 68);
      }),
    code: 'image-unsupported',
    structure: 'header',
  },
  {
    name: 'something to replay and no log',
    patch: (image) =>
      patchHeaders(image, (header) => {
        encodeGuid(randomGuid(random)).copy(header, 48);
        header.writeUInt32LE(0, 68);
      }),
    structure: 'header',
  },
  {
    name: 'both region tables torn',
    patch: (image) => {
      image.fill(7, 192 * KIB + 40, 192 * KIB + 50);
      image.fill(7, 256 * KIB + 40, 256 * KIB + 50);
    },
    structure: 'region table',
    offset: 192 * KIB,
  },
  {
    name: 'thousands of regions',
    patch: (image) => patchRegionTables(image, (table) => table.writeUInt32LE(2 ** 31, 8)),
    structure: 'region table',
  },
  {
    name: 'no BAT',
    patch: (image) => patchRegionTables(image, (table) => table.fill(9, 16, 32).fill(0, 44, 48)),
    structure: 'region table',
  },
  {
    name: 'a required region of unknown use',
    patch: (image) => patchRegionTables(image, (table) => table.fill(9, 16, 32)),
    code: 'image-unsupported',
    structure: 'region 0',
  },
  {
    name: 'two regions of one use',
    patch: (image) => patchRegionTables(image, (table) => table.copy(table, 48, 16, 48)),
    structure: 'region 1',
  },
  {
    name: 'regions that overlap',
    patch: (image) => patchRegionTables(image, (table) => table.copy(table, 48 + 16, 32, 40)),
    structure: 'metadata',
  },
  {
    name: 'a region at an odd place',
    patch: (image) => patchRegionTables(image, (table) => table.writeUInt32LE(4097, 32)),
    structure: 'region 0',
  },
  {
    name: 'a region beyond the end',
    patch: (image) => patchRegionTables(image, (table) => table.writeUInt32LE(0x400, 36)),
    structure: 'BAT',
  },
  {
    name: 'a BAT that is too short',
    patch: (image) => {
      items(image).writeBigUInt64LE(2n ** 45n, 8);
    },
    structure: 'BAT',
    offset: BAT_OFFSET,
  },
  {
    name: 'no metadata table',
    patch: (image) => image.fill(0, METADATA_OFFSET, METADATA_OFFSET + 8),
    structure: 'metadata table',
    offset: METADATA_OFFSET,
  },
  {
    name: 'too many metadata items',
    patch: (image) => void image.writeUInt16LE(2048, METADATA_OFFSET + 10),
    structure: 'metadata table',
  },
  {
    name: 'a metadata item beyond its region',
    patch: (image) => void itemEntry(image, 0).writeUInt32LE(MIB - 4, 16),
    structure: 'metadata item 0',
  },
  {
    name: 'a metadata item in the table',
    patch: (image) => void itemEntry(image, 1).writeUInt32LE(64, 16),
    structure: 'metadata item 1',
  },
  {
    name: 'a metadata item of 4 GiB',
    patch: (image) => void itemEntry(image, 2).writeUInt32LE(0xffff_ffff, 20),
    structure: 'metadata item 2',
  },
  {
    name: 'metadata items that overlap',
    patch: (image) => itemEntry(image, 0).copy(itemEntry(image, 1), 16, 16, 24),
    structure: 'metadata table',
  },
  {
    name: 'one metadata item twice',
    patch: (image) => itemEntry(image, 0).copy(itemEntry(image, 1), 0, 0, 16),
    structure: 'metadata item 1',
  },
  {
    name: 'a required metadata item that is not known',
    patch: (image) => itemEntry(image, 2).fill(5, 0, 16),
    code: 'image-unsupported',
    structure: 'metadata table',
  },
  {
    name: 'no size of the disk',
    patch: (image) => itemEntry(image, 1).fill(5, 0, 16).fill(0, 24, 28),
    structure: 'virtual disk size',
  },
  {
    name: 'a size of 2 bytes',
    patch: (image) => void itemEntry(image, 1).writeUInt32LE(2, 20),
    structure: 'virtual disk size',
    offset: ITEMS_OFFSET + 8,
  },
  {
    name: 'blocks of 0 bytes',
    patch: (image) => void items(image).writeUInt32LE(0, 0),
    structure: 'file parameters',
    offset: ITEMS_OFFSET,
  },
  {
    name: 'blocks of 3 MiB',
    patch: (image) => void items(image).writeUInt32LE(3 * MIB, 0),
    structure: 'file parameters',
  },
  {
    name: 'blocks of 512 MiB',
    patch: (image) => void items(image).writeUInt32LE(512 * MIB, 0),
    structure: 'file parameters',
  },
  {
    name: 'a disk of 0 bytes',
    patch: (image) => void items(image).writeBigUInt64LE(0n, 8),
    structure: 'virtual disk size',
  },
  {
    name: 'a disk of 16 EiB',
    patch: (image) => void items(image).writeBigUInt64LE(2n ** 64n - 512n, 8),
    structure: 'virtual disk size',
  },
  {
    name: 'a disk that ends in a sector',
    patch: (image) => void items(image).writeBigUInt64LE(1000n, 8),
    structure: 'virtual disk size',
  },
  {
    name: 'sectors of 1 byte',
    patch: (image) => void items(image).writeUInt32LE(1, 32),
    structure: 'logical sector size',
    offset: ITEMS_OFFSET + 32,
  },
  {
    name: 'a block beyond the end',
    patch: (image) => setEntry(image, 1, ((2n ** 30n) << 20n) | 6n),
    structure: 'BAT entry 1',
    offset: BAT_OFFSET + 8,
  },
  {
    name: 'a block in the header section',
    patch: (image) => setEntry(image, 1, 6n),
    structure: 'BAT entry 1',
  },
  {
    name: 'a block in the log',
    patch: (image) => setEntry(image, 1, BigInt(LOG_OFFSET) | 6n),
    structure: 'BAT entry 1',
  },
  {
    name: 'two blocks in one place',
    patch: (image) => entryAt(image, 0).copy(entryAt(image, 1)),
    structure: 'BAT entry 1',
  },
  {
    name: 'a block in half of another',
    patch: (image) => setEntry(image, 1, entryAt(image, 0).readBigUInt64LE() + (1n << 20n)),
    structure: 'BAT entry 1',
  },
  {
    name: 'a state without a meaning',
    patch: (image) => setEntry(image, 1, 4n),
    structure: 'BAT entry 1',
  },
  {
    name: 'reserved bits in an entry',
    patch: (image) => setEntry(image, 1, 8n),
    structure: 'BAT entry 1',
  },
  {
    name: 'a partially present block without a parent',
    patch: (image) => setEntry(image, 0, entryAt(image, 0).readBigUInt64LE() | 7n),
    structure: 'BAT entry 0',
  },
  {
    name: 'a partially present block without a bitmap',
    sample: 'differencing',
    patch: (image) => setEntry(image, 2048, 0n),
    structure: 'BAT entry 2048',
  },
  {
    name: 'a block beyond the end of the disk',
    sample: 'differencing',
    patch: (image) => setEntry(image, 3, BigInt(64 * MIB) | 6n),
    structure: 'BAT entry 3',
  },
  {
    name: 'a bitmap in a block',
    sample: 'differencing',
    patch: (image) => setEntry(image, 2048, entryAt(image, 0).readBigUInt64LE() - 1n),
    structure: 'BAT entry 2048',
  },
  {
    name: 'no parent locator',
    sample: 'differencing',
    patch: (image) => itemEntry(image, 5).fill(5, 0, 16).fill(0, 24, 28),
    structure: 'parent locator',
  },
  {
    name: 'a parent of another type',
    sample: 'differencing',
    patch: (image) => items(image).fill(5, LOCATOR_OFFSET, LOCATOR_OFFSET + 16),
    code: 'image-unsupported',
    structure: 'parent locator',
  },
  {
    name: 'a parent locator with too many entries',
    sample: 'differencing',
    patch: (image) => void items(image).writeUInt16LE(60_000, LOCATOR_OFFSET + 18),
    structure: 'parent locator',
  },
  {
    name: 'a parent locator with a text beyond its end',
    sample: 'differencing',
    patch: (image) => void items(image).writeUInt32LE(0xffff_fff0, LOCATOR_OFFSET + 20),
    structure: 'parent locator',
  },
  {
    name: 'a parent locator that identifies nothing',
    sample: 'differencing',
    patch: (image) => void items(image).writeUInt16LE(0, LOCATOR_OFFSET + 18),
    structure: 'parent locator',
  },
];
