/**
 * What is in the journal of a volume that was not unmounted, laid over its blocks as it is read.
 *
 * A transaction counts when its commit block is there; the log ends at the first that has none. A
 * block that a later transaction revokes is not taken from earlier ones.
 */
import { CofferError } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import { readContent } from './content.ts';
import type { Inode } from './inode-codec.ts';
import {
  isTagged,
  JOURNAL_MAGIC,
  type JournalSuperblock,
  type JournalTag,
  parseJournalBlock,
  parseJournalSuperblock,
} from './journal-codec.ts';
import { type LaidBlock, overlaidDisk } from './overlaid-disk.ts';
import type { Ext4Volume } from './volume.ts';

/** Larger logs are not made: 1 GiB of blocks of 1 KiB. It bounds memory, too. */
const LOG_BLOCKS_MAX = 1024 * 1024;
const REVOKED_MAX = 4 * 1024 * 1024;

interface Log {
  readonly volume: Ext4Volume;
  readonly inode: Inode;
  readonly journal: JournalSuperblock;
}

/** A block of the log, with the transaction that it is of and the tag that tells its place. */
interface Logged {
  readonly sequence: number;
  readonly tag: JournalTag;
  readonly logBlock: number;
}

/** A committed part of the log. */
interface Transactions {
  readonly logged: readonly Logged[];
  /** The last transaction that revokes each block. */
  readonly revoked: ReadonlyMap<number, number>;
}

/**
 * The disk of the volume as the journal makes it; the disk itself when there is nothing to replay.
 * Fails with `file-system-damaged` when a committed block is not whole, and with
 * `file-system-unsupported` when the journal is on another device, or has fast commits.
 */
export async function replayed(volume: Ext4Volume): Promise<Disk> {
  const { needsRecovery, journalInode, blockBytes } = volume.superblock;
  if (!needsRecovery) return volume.disk;
  if (journalInode === 0) throw unsupported('the journal is on another device');
  const inode = await volume.readInode(journalInode);
  const first = await readLogBlock(volume, inode, 0);
  const journal = parseJournalSuperblock(first);
  if (journal.startBlock === 0) return volume.disk;
  if (journal.hasFastCommits) throw unsupported('the journal has fast commits');
  requireSane(journal, inode, blockBytes);
  const log = { volume, inode, journal };
  return overlaidDisk(volume.disk, blockBytes, await laidBlocks(log, await readLog(log)));
}

function requireSane(journal: JournalSuperblock, inode: Inode, blockBytes: number): void {
  const { firstBlock, blockCount, startBlock } = journal;
  const isSane =
    journal.blockBytes === blockBytes &&
    firstBlock > 0 &&
    startBlock >= firstBlock &&
    startBlock < blockCount &&
    blockCount * blockBytes <= inode.sizeBytes;
  if (!isSane) throw damaged('superblock');
  if (blockCount > LOG_BLOCKS_MAX) throw unsupported('the journal is too large');
}

/** Goes through the log once around at most. */
async function readLog({ volume, inode, journal }: Log): Promise<Transactions> {
  const logged: Logged[] = [];
  const revoked = new Map<number, number>();
  let pending: Logged[] = [];
  let pendingRevoked = new Set<number>();
  let { sequence, startBlock: place } = journal;
  for (let rest = journal.blockCount - journal.firstBlock; rest > 0; rest--) {
    const bytes = await readLogBlock(volume, inode, place);
    const block = parseJournalBlock(journal, sequence, bytes);
    if (!block) break;
    place = nextPlace(journal, place);
    if (block.kind === 'descriptor') {
      for (const tag of block.tags) {
        pending.push({ sequence, tag, logBlock: place });
        place = nextPlace(journal, place);
      }
      rest -= block.tags.length;
    } else if (block.kind === 'revoke') {
      for (const blockIndex of block.blocks) pendingRevoked.add(blockIndex);
      if (pendingRevoked.size > REVOKED_MAX) throw damaged('revoked blocks');
    } else {
      logged.push(...pending);
      for (const blockIndex of pendingRevoked) revoked.set(blockIndex, sequence);
      if (revoked.size > REVOKED_MAX) throw damaged('revoked blocks');
      pending = [];
      pendingRevoked = new Set();
      sequence = (sequence + 1) >>> 0;
    }
  }
  return { logged, revoked };
}

function nextPlace({ firstBlock, blockCount }: JournalSuperblock, place: number): number {
  return place + 1 >= blockCount ? firstBlock : place + 1;
}

/** The last block of each place, unless the same transaction or a later one revokes it. */
async function laidBlocks(
  { volume, inode, journal }: Log,
  { logged, revoked }: Transactions,
): Promise<Map<number, LaidBlock>> {
  const last = new Map<number, Logged>();
  for (const block of logged) {
    const revokedBy = revoked.get(block.tag.blockIndex);
    const isRevoked = revokedBy !== undefined && !isAfter(block.sequence, revokedBy);
    if (!isRevoked) last.set(block.tag.blockIndex, block);
  }
  const laid = new Map<number, LaidBlock>();
  for (const [blockIndex, { sequence, tag, logBlock }] of last) {
    const bytes = await readLogBlock(volume, inode, logBlock);
    if (!isTagged(journal, sequence, tag, bytes)) throw damaged('checksum', blockIndex);
    laid.set(blockIndex, { read: () => unescaped(volume, inode, logBlock, tag) });
  }
  return laid;
}

async function unescaped(
  volume: Ext4Volume,
  inode: Inode,
  logBlock: number,
  { isEscaped }: JournalTag,
): Promise<Buffer> {
  const bytes = await readLogBlock(volume, inode, logBlock);
  if (isEscaped) bytes.writeUInt32BE(JOURNAL_MAGIC, 0);
  return bytes;
}

/** Numbers of transactions begin again at zero after 32 bits. */
function isAfter(a: number, b: number): boolean {
  return ((a - b) | 0) > 0;
}

async function readLogBlock(volume: Ext4Volume, inode: Inode, place: number): Promise<Buffer> {
  const { blockBytes } = volume.superblock;
  const bytes = Buffer.alloc(blockBytes);
  const length = await readContent(volume, inode, place * blockBytes, bytes);
  if (length < blockBytes) throw damaged('length', place);
  return bytes;
}

function unsupported(reason: string): CofferError {
  return new CofferError('file-system-unsupported', { structure: 'ext4 journal', reason });
}

function damaged(reason: string, blockIndex?: number): CofferError {
  const details = { structure: 'ext4 journal', reason, blockIndex };
  return new CofferError('file-system-damaged', details);
}
