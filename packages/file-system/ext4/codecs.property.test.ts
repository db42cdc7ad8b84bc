import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import fc from 'fast-check';
import { givenAcl } from './acl-codec.ts';
import { parseAttributeBlock, parseInodeAttributes } from './attributes-codec.ts';
import { continueCrc32c, CRC32C_START } from '@coffer/base/crc32c.ts';
import { isDirectoryBlockWhole, parseDirectoryBlock } from './directory-codec.ts';
import { isExtentBlockWhole, parseExtentNode } from './extent-codec.ts';
import { parseInode } from './inode-codec.ts';
import {
  type JournalSuperblock,
  parseJournalBlock,
  parseJournalSuperblock,
} from './journal-codec.ts';
import { parseSuperblock, type Superblock } from './superblock-codec.ts';

const SUPERBLOCK: Superblock = {
  blockBytes: 1024,
  clusterBytes: 1024,
  blockCount: 1000,
  firstDataBlock: 1,
  blocksPerGroup: 8192,
  groupCount: 1,
  inodeCount: 100,
  inodesPerGroup: 100,
  inodeBytes: 256,
  descriptorBytes: 32,
  firstMetaGroup: 1000,
  backupGroups: undefined,
  isSparse: true,
  hasFileTypes: true,
  hasAttributeInodes: false,
  needsRecovery: false,
  journalInode: 0,
  hasChecksums: false,
  checksumSeed: 0,
};

const JOURNAL: JournalSuperblock = {
  blockBytes: 1024,
  blockCount: 100,
  firstBlock: 1,
  sequence: 1,
  startBlock: 1,
  isWide: true,
  hasFastCommits: false,
  checksums: 'none',
  checksumSeed: 0,
};

/** Bytes with what a codec asks for at their start, so that it goes on. */
function bytesOf(sizeBytes: number, start = ''): fc.Arbitrary<Buffer> {
  const prefix = Buffer.from(start, 'hex');
  const small = fc.uint8Array({ minLength: sizeBytes, maxLength: sizeBytes });
  return small.map((bytes) => Buffer.concat([prefix, bytes]).subarray(0, sizeBytes));
}

interface Codec {
  readonly name: string;
  readonly bytes: fc.Arbitrary<Buffer>;
  readonly parse: (bytes: Buffer) => unknown;
}

const CODECS: readonly Codec[] = [
  {
    name: 'superblock',
    bytes: bytesOf(1024).map((bytes) => {
      bytes.writeUInt16LE(0xef53, 56);
      bytes.fill(0, 97, 104);
      bytes[24]! &= 7;
      return bytes;
    }),
    parse: parseSuperblock,
  },
  { name: 'inode', bytes: bytesOf(256), parse: (bytes) => parseInode(SUPERBLOCK, 5, bytes) },
  { name: 'extents', bytes: bytesOf(60, '0af3'), parse: (bytes) => parseExtentNode(bytes) },
  {
    name: 'extent checksum',
    bytes: bytesOf(64),
    parse: (bytes) => isExtentBlockWhole(bytes, 0),
  },
  {
    name: 'folder',
    bytes: bytesOf(64).map((bytes) => {
      bytes.writeUInt16LE(bytes[4]! & 0x3c, 4);
      return bytes;
    }),
    parse: (bytes) => [parseDirectoryBlock(bytes, SUPERBLOCK), isDirectoryBlockWhole(bytes, 0)],
  },
  { name: 'attributes', bytes: bytesOf(100, '000002ea'), parse: parseInodeAttributes },
  {
    name: 'block of attributes',
    bytes: bytesOf(200, '000002ea0100000001000000'),
    parse: parseAttributeBlock,
  },
  { name: 'access control list', bytes: bytesOf(30, '01000000'), parse: givenAcl },
  {
    name: 'superblock of a journal',
    bytes: bytesOf(1024, 'c03b399800000004'),
    parse: parseJournalSuperblock,
  },
  ...['01', '02', '05'].map((type) => ({
    name: `block of a journal of type ${type}`,
    bytes: bytesOf(1024, `c03b3998000000${type}00000001`),
    parse: (bytes: Buffer) => parseJournalBlock(JOURNAL, 1, bytes),
  })),
];

for (const { name, bytes, parse } of CODECS) {
  test(`any bytes are a ${name}, or damage that is told`, () => {
    const told = fc.property(bytes, (input) => {
      try {
        parse(input);
      } catch (error) {
        if (!isCofferError(error)) throw error;
      }
    });
    fc.assert(told, { numRuns: 500 });
  });
}

test('the checksum is that of the standard', () => {
  assert.equal(~continueCrc32c(CRC32C_START, Buffer.from('123456789')) >>> 0, 0xe3069283);
});

test('entries of an access control list keep tag, permissions and id', () => {
  const entry = fc.record({
    tag: fc.constantFrom(0x01, 0x02, 0x04, 0x08, 0x10, 0x20),
    permissions: fc.integer({ min: 0, max: 7 }),
    id: fc.integer({ min: 0, max: 0xffff_fffe }),
  });
  fc.assert(
    fc.property(fc.array(entry), (entries) => {
      const hasId = (tag: number) => tag === 0x02 || tag === 0x08;
      const stored = entries.map(({ tag, permissions, id }) => {
        const bytes = Buffer.alloc(hasId(tag) ? 8 : 4);
        bytes.writeUInt16LE(tag, 0);
        bytes.writeUInt16LE(permissions, 2);
        if (hasId(tag)) bytes.writeUInt32LE(id, 4);
        return bytes;
      });
      const given = givenAcl(Buffer.concat([Buffer.from([1, 0, 0, 0]), ...stored]));
      assert.equal(given.readUInt32LE(0), 2);
      assert.equal(given.length, 4 + entries.length * 8);
      for (const [index, { tag, permissions, id }] of entries.entries()) {
        assert.equal(given.readUInt16LE(4 + index * 8), tag);
        assert.equal(given.readUInt16LE(6 + index * 8), permissions);
        assert.equal(given.readUInt32LE(8 + index * 8), hasId(tag) ? id : 0xffff_ffff);
      }
    }),
  );
});
