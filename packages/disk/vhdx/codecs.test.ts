// The structures of VHDX as bytes: what is written is read, and what is damaged is not taken for whole.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '@coffer/base';
import fc from 'fast-check';
import {
  batLayout,
  bitmapEntryIndex,
  decodeBatEntry,
  encodeBatEntry,
  payloadEntryIndex,
} from './bat-codec.ts';
import { crc32c } from '@coffer/base/crc32c.ts';
import { checksumOf } from './checksum.ts';
import { decodeGuid, encodeGuid, parseGuid, randomGuid, ZERO_GUID } from '../guid-codec.ts';
import { currentHeader, decodeHeader, encodeHeader, newHeader } from './header-codec.ts';
import {
  decodeLogEntryHeader,
  decodeLogUpdates,
  encodeLogEntry,
  isLogEntryIntact,
} from './log-entry-codec.ts';
import {
  checkParameters,
  decodeMetadata,
  type DiskParameters,
  encodeMetadata,
} from './metadata-codec.ts';
import { decodeMetadataTable, encodeMetadataRegion } from './metadata-table-codec.ts';
import { decodeParentLocator, encodeParentLocator } from './parent-locator-codec.ts';
import { parentCandidates } from './parent-path.ts';
import { decodeRegionTable, encodeRegionTable, isRegionTable } from './region-table-codec.ts';
import { endOfRun, isPresent, markPresent } from './sector-bits.ts';
import { windowsPaths } from './testing/differencing.ts';

const MIB = 1024 * 1024;
const PLACE = { path: 'image.vhdx', structure: 'structure', offset: 0 };
const random = seededRandom(3);
const bytesOf = (sizeMax: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ maxLength: sizeMax });

test('CRC-32C is that of the standard (RFC 3720, B.4), in parts or whole', () => {
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa);
  assert.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43);
  fc.assert(
    fc.property(bytesOf(300), fc.nat(300), (bytes, cut) => {
      const parts = crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut)));
      assert.equal(parts, crc32c(bytes));
      const zeroed = Buffer.concat([bytes, Buffer.alloc(8)]);
      assert.equal(checksumOf(zeroed, bytes.length), crc32c(zeroed));
    }),
  );
});

test('GUIDs are stored with three fields little-endian', () => {
  const guid = '2dc27766-f623-4200-9d64-115e9bfd4a08';
  assert.equal(encodeGuid(guid).toString('hex'), '6677c22d23f600429d64115e9bfd4a08');
  assert.equal(decodeGuid(encodeGuid(guid), 0), guid);
  assert.equal(parseGuid(`{${guid.toUpperCase()}}`), guid);
  assert.equal(parseGuid('none'), undefined);
  const made = randomGuid(random);
  assert.match(made, /^.{14}4.{4}[89ab]/);
  assert.equal(decodeGuid(encodeGuid(made), 0), made);
});

test('the header with the greater sequence number is current, and a torn one is none', () => {
  const guids = { fileWriteGuid: randomGuid(random), dataWriteGuid: randomGuid(random) };
  const first = newHeader({ ...guids, logOffset: MIB, logLength: MIB });
  const second = { ...first, sequenceNumber: 2n };
  assert.deepEqual(decodeHeader(encodeHeader(first)), first);
  assert.deepEqual(currentHeader(first, second, PLACE), { header: second, slot: 1 });
  assert.deepEqual(currentHeader(second, first, PLACE), { header: second, slot: 0 });
  assert.deepEqual(currentHeader(first, undefined, PLACE), { header: first, slot: 0 });
  assert.deepEqual(currentHeader(undefined, first, PLACE), { header: first, slot: 1 });
  assert.deepEqual(currentHeader(first, first, PLACE), { header: first, slot: 0 });
  const other = { ...first, logGuid: randomGuid(random) };
  assert.throws(() => currentHeader(first, other, PLACE), /no header is valid/);
  assert.throws(() => currentHeader(undefined, undefined, PLACE), /no header is valid/);
  fc.assert(
    fc.property(fc.nat(4095), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const bytes = encodeHeader(first);
      bytes[at]! ^= flip;
      assert.equal(decodeHeader(bytes), undefined);
    }),
  );
});

test('regions are read as they were written', () => {
  const bat = { structure: 'BAT', offset: 3 * MIB, length: 4 * MIB };
  const metadata = { structure: 'metadata', offset: 2 * MIB, length: MIB };
  const bytes = encodeRegionTable({ bat, metadata });
  assert.ok(isRegionTable(bytes));
  const decoded = decodeRegionTable(bytes, PLACE);
  assert.deepEqual([decoded.bat, decoded.metadata], [bat, metadata]);
  bytes[5000] = 1;
  assert.ok(!isRegionTable(bytes));
});

test('metadata is read as it was written, items that are not known too', () => {
  const parameters: DiskParameters = {
    sizeBytes: 64 * MIB * MIB,
    blockSizeBytes: 32 * MIB,
    logicalSectorBytes: 4096,
    physicalSectorBytes: 512,
    diskId: randomGuid(random),
    isFixed: false,
    isDifferencing: true,
  };
  checkParameters(parameters, 'image.vhdx');
  const parentLocator = Buffer.from('what a parent locator would be');
  const extra = {
    id: randomGuid(random),
    bytes: Buffer.from('extra'),
    isUser: true,
    isVirtualDisk: true,
    isRequired: false,
  };
  const empty = { ...extra, id: randomGuid(random), bytes: Buffer.alloc(0) };
  const written = [...encodeMetadata({ parameters, parentLocator }), extra, empty];
  const region = encodeMetadataRegion(written, PLACE);
  const read = decodeMetadataTable(region, region.length, PLACE).map(
    ({ offset, length, ...item }) => ({
      ...item,
      bytes: region.subarray(offset, offset + length),
    }),
  );
  assert.deepEqual(read, written);
  assert.deepEqual(
    decodeMetadata(read, () => PLACE),
    { parameters, parentLocator },
  );
});

test('a parent locator is read as it was written', () => {
  const guid = randomGuid(random);
  const paths = { relativePath: '..\\ä\\parent.vhdx', absolutePath: '\\\\?\\D:\\ä\\parent.vhdx' };
  const decoded = decodeParentLocator(encodeParentLocator(guid, paths), PLACE);
  assert.deepEqual(decoded, { linkages: [guid], ...paths });
});

test('a parent is looked for beside its relative path, its name and its absolute path', () => {
  const absolutePath = '\\\\?\\D:\\disks\\base.vhdx';
  const locator = { linkages: [], relativePath: '..\\up\\base.vhdx', absolutePath };
  assert.deepEqual(parentCandidates('/vms/one/child.avhdx', locator), [
    '/vms/up/base.vhdx',
    '/vms/one/base.vhdx',
    '/disks/base.vhdx',
  ]);
  const onlyAbsolute = { ...locator, relativePath: undefined };
  assert.deepEqual(parentCandidates('/vms/child.avhdx', onlyAbsolute), [
    '/vms/base.vhdx',
    '/disks/base.vhdx',
  ]);
  const none = { ...locator, relativePath: undefined, absolutePath: undefined };
  assert.deepEqual(parentCandidates('/vms/child.avhdx', none), []);
  assert.deepEqual(windowsPaths('/vms/a/child.avhdx', '/vms/b/base.vhdx'), {
    relativePath: '..\\b\\base.vhdx',
    absolutePath: '\\\\?\\vms\\b\\base.vhdx',
  });
  assert.equal(windowsPaths('/a/c.avhdx', '/a/b.vhdx').relativePath, '.\\b.vhdx');
});

test('BAT entries hold offsets of 44 bits, and follow each other as 2.5 says', () => {
  fc.assert(
    fc.property(fc.nat(7), fc.nat(2 ** 31 - 1), fc.nat(2 ** 13 - 1), (state, high, low) => {
      const offset = (high * 2 ** 13 + low) * MIB;
      const bytes = Buffer.alloc(8);
      encodeBatEntry({ state, offset }, bytes, 0);
      assert.deepEqual(decodeBatEntry(bytes, 0), { state, offset });
      assert.equal(bytes.readBigUInt64LE(), BigInt(offset) | BigInt(state));
    }),
  );
  const parameters = {
    sizeBytes: 10 * 1024 * MIB,
    blockSizeBytes: 256 * MIB,
    logicalSectorBytes: 512,
    physicalSectorBytes: 512,
    diskId: ZERO_GUID,
    isFixed: false,
    isDifferencing: false,
  };
  const dynamic = batLayout(parameters);
  assert.deepEqual(dynamic, { blockCount: 40, chunkRatio: 16, entryCount: 42 });
  assert.equal(batLayout({ ...parameters, isDifferencing: true }).entryCount, 51);
  assert.equal(payloadEntryIndex(dynamic, 15), 15);
  assert.equal(bitmapEntryIndex(dynamic, 15), 16);
  assert.equal(payloadEntryIndex(dynamic, 16), 17);
  assert.equal(bitmapEntryIndex(dynamic, 39), 50);
  assert.equal(batLayout({ ...parameters, sizeBytes: 512 }).entryCount, 1);
});

test('bits of a bitmap are set, and told in runs', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(320), fc.nat(320)), { maxLength: 6 }), (ranges) => {
      const bitmap = Buffer.alloc(40);
      const expected = Array.from({ length: 320 }, () => false);
      for (const [a, b] of ranges) {
        const [start, end] = [Math.min(a, b), Math.max(a, b)];
        markPresent(bitmap, start, end);
        expected.fill(true, start, end);
      }
      const actual = expected.map((_, sector) => isPresent(bitmap, sector));
      assert.deepEqual(actual, expected);
      for (let sector = 0; sector < 320;) {
        const end = endOfRun(bitmap, sector, 320);
        assert.ok(end > sector);
        assert.ok(expected.slice(sector, end).every((present) => present === expected[sector]));
        if (end < 320) assert.notEqual(expected[end], expected[sector]);
        sector = end;
      }
    }),
  );
});

test('a log entry is read as it was written, and no changed byte of it goes unseen', () => {
  const updates = Array.from({ length: 126 }, (_, index) => ({
    fileOffset: (index + 800) * 4096,
    bytes: random.bytes(4096),
  }));
  const fields = {
    tail: 4096,
    sequenceNumber: 0x1_2345_6789_abcdn,
    logGuid: randomGuid(random),
    flushedFileOffset: 5 * MIB,
    lastFileOffset: 6 * MIB,
  };
  const entry = encodeLogEntry(fields, updates);
  const header = decodeLogEntryHeader(entry, MIB);
  assert.deepEqual(header, { ...fields, length: 127 * 4096, descriptorCount: 126 });
  assert.ok(isLogEntryIntact(entry));
  const read = decodeLogUpdates(entry, header);
  assert.deepEqual(
    read,
    updates.map((update) => ({ ...update, length: 4096 })),
  );
  fc.assert(
    fc.property(fc.nat(entry.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const torn = Buffer.from(entry);
      torn[at]! ^= flip;
      assert.ok(!isLogEntryIntact(torn));
    }),
    { numRuns: 30 },
  );
  // A sector of another entry is seen even when nobody looks at the checksum.
  const torn = Buffer.from(entry);
  encodeLogEntry({ ...fields, sequenceNumber: 7n }, updates).copy(
    torn,
    4096 * 5,
    4096 * 5,
    4096 * 6,
  );
  assert.equal(decodeLogUpdates(torn, header), undefined);
});
