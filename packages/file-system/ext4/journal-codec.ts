/** The blocks of a journal (kernel documentation, "Journal (jbd2)"). Numbers are big-endian. */
import { CofferError } from '@coffer/base';
import { continueCrc32c, CRC32C_START } from '@coffer/base/crc32c.ts';

export interface JournalSuperblock {
  readonly blockBytes: number;
  /** Blocks of the journal, of which the log uses those from `firstBlock` on. */
  readonly blockCount: number;
  readonly firstBlock: number;
  /** Of the first transaction that may have to be replayed, and where it begins; 0 for none. */
  readonly sequence: number;
  readonly startBlock: number;
  readonly isWide: boolean;
  readonly hasFastCommits: boolean;
  /** How tags and blocks have their checksums. */
  readonly checksums: 'none' | 'version-2' | 'version-3';
  readonly checksumSeed: number;
}

export type JournalBlock =
  | { readonly kind: 'descriptor'; readonly tags: readonly JournalTag[] }
  | { readonly kind: 'revoke'; readonly blocks: readonly number[] }
  | { readonly kind: 'commit' };

/** Says where the block that follows in the log belongs. */
export interface JournalTag {
  readonly blockIndex: number;
  /** The block began with the magic number of journals, which was taken out. */
  readonly isEscaped: boolean;
  readonly checksum: number;
}

export const JOURNAL_MAGIC = 0xc03b3998;

const HEADER_BYTES = 12;
const UUID_BYTES = 16;
const INCOMPATIBLE = { wide: 0x2, version2: 0x8, version3: 0x10, fastCommits: 0x20 } as const;
/** With revoked blocks and commits that are not waited for. */
const UNDERSTOOD = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20;
const TAG = { escaped: 0x1, sameUuid: 0x2, last: 0x8 } as const;

/** Fails with `file-system-damaged` and `file-system-unsupported`. */
export function parseJournalSuperblock(bytes: Buffer): JournalSuperblock {
  const type = bytes.readUInt32BE(4);
  if (bytes.readUInt32BE(0) !== JOURNAL_MAGIC || (type !== 3 && type !== 4)) throw damaged('magic');
  const incompatible = type === 4 ? bytes.readUInt32BE(40) : 0;
  if ((incompatible & ~UNDERSTOOD) !== 0) {
    const details = { structure: 'ext4 journal', features: incompatible & ~UNDERSTOOD };
    throw new CofferError('file-system-unsupported', details);
  }
  const has = (flag: number): boolean => (incompatible & flag) !== 0;
  return {
    blockBytes: bytes.readUInt32BE(12),
    blockCount: bytes.readUInt32BE(16),
    firstBlock: bytes.readUInt32BE(20),
    sequence: bytes.readUInt32BE(24),
    startBlock: bytes.readUInt32BE(28),
    isWide: has(INCOMPATIBLE.wide),
    hasFastCommits: has(INCOMPATIBLE.fastCommits),
    checksums: has(INCOMPATIBLE.version3)
      ? 'version-3'
      : has(INCOMPATIBLE.version2)
        ? 'version-2'
        : 'none',
    checksumSeed: continueCrc32c(CRC32C_START, bytes.subarray(48, 64)),
  };
}

/**
 * Undefined when the block is none of the transaction with that number, or is not whole: there the
 * log ends. Fails with `file-system-damaged` when a whole block has nonsense in it.
 */
export function parseJournalBlock(
  journal: JournalSuperblock,
  sequence: number,
  bytes: Buffer,
): JournalBlock | undefined {
  if (bytes.readUInt32BE(0) !== JOURNAL_MAGIC || bytes.readUInt32BE(8) !== sequence) {
    return undefined;
  }
  const type = bytes.readUInt32BE(4);
  if (type === 2) return isWhole(journal, bytes, 16) ? { kind: 'commit' } : undefined;
  if (type !== 1 && type !== 5) return undefined;
  if (!isWhole(journal, bytes, bytes.length - 4)) return undefined;
  if (type === 1) return { kind: 'descriptor', tags: parseTags(journal, bytes) };
  return { kind: 'revoke', blocks: parseRevoked(journal, bytes) };
}

/** True when a block of the log is what its tag says. */
export function isTagged(
  journal: JournalSuperblock,
  sequence: number,
  tag: JournalTag,
  bytes: Buffer,
): boolean {
  if (journal.checksums === 'none') return true;
  const number = Buffer.alloc(4);
  number.writeUInt32BE(sequence);
  const sum = continueCrc32c(continueCrc32c(journal.checksumSeed, number), bytes);
  return (journal.checksums === 'version-3' ? sum : sum & 0xffff) === tag.checksum;
}

/** The checksum is computed with zeroes at its own place. */
function isWhole(
  { checksums, checksumSeed }: JournalSuperblock,
  bytes: Buffer,
  at: number,
): boolean {
  if (checksums === 'none') return true;
  const copy = Buffer.from(bytes);
  copy.writeUInt32BE(0, at);
  return continueCrc32c(checksumSeed, copy) === bytes.readUInt32BE(at);
}

function parseTags(journal: JournalSuperblock, bytes: Buffer): JournalTag[] {
  const tagBytes = tagSize(journal);
  const end = bytes.length - (journal.checksums === 'none' ? 0 : 4);
  const tags: JournalTag[] = [];
  for (let offset = HEADER_BYTES; offset + tagBytes <= end;) {
    const { tag, flags } = parseTag(journal, bytes, offset);
    tags.push(tag);
    if ((flags & TAG.last) !== 0) break;
    offset += tagBytes + ((flags & TAG.sameUuid) === 0 ? UUID_BYTES : 0);
  }
  return tags;
}

function tagSize({ checksums, isWide }: JournalSuperblock): number {
  if (checksums === 'version-3') return 16;
  return (isWide ? 12 : 8) + (checksums === 'version-2' ? 2 : 0);
}

function parseTag(
  { checksums, isWide }: JournalSuperblock,
  bytes: Buffer,
  offset: number,
): { tag: JournalTag; flags: number } {
  const isThird = checksums === 'version-3';
  const flags = isThird ? bytes.readUInt32BE(offset + 4) : bytes.readUInt16BE(offset + 6);
  const high = isWide ? bytes.readUInt32BE(offset + 8) : 0;
  const tag = {
    blockIndex: bytes.readUInt32BE(offset) + high * 2 ** 32,
    isEscaped: (flags & TAG.escaped) !== 0,
    checksum: isThird ? bytes.readUInt32BE(offset + 12) : bytes.readUInt16BE(offset + 4),
  };
  return { tag, flags };
}

function parseRevoked({ isWide }: JournalSuperblock, bytes: Buffer): number[] {
  const end = bytes.readUInt32BE(12);
  if (end < 16 || end > bytes.length) throw damaged('revoked blocks');
  const blocks: number[] = [];
  for (let offset = 16; offset + (isWide ? 8 : 4) <= end; offset += isWide ? 8 : 4) {
    blocks.push(isWide ? Number(bytes.readBigUInt64BE(offset)) : bytes.readUInt32BE(offset));
  }
  return blocks;
}

function damaged(reason: string): CofferError {
  return new CofferError('file-system-damaged', { structure: 'ext4 journal', reason });
}
