/** What is in files and folders of ext4: bytes of an inode, wherever they are. */
import { CofferError } from '@coffer/base';
import { isInlineData, parseInodeAttributes } from './attributes-codec.ts';
import { blockRuns } from './block-map.ts';
import type { Inode } from './inode-codec.ts';
import type { Ext4Volume } from './volume.ts';

/**
 * Fills `target` with what the inode holds at `offset`, zeroes where it has holes, and returns how
 * many bytes there were. Fails with `file-system-damaged` and `file-system-unsupported`.
 */
export async function readContent(
  volume: Ext4Volume,
  inode: Inode,
  offset: number,
  target: Uint8Array,
): Promise<number> {
  if (inode.isEncrypted) {
    const details = { structure: 'ext4 encryption', inode: inode.number };
    throw new CofferError('file-system-unsupported', details);
  }
  const length = Math.max(0, Math.min(target.length, inode.sizeBytes - offset));
  const part = target.subarray(0, length);
  part.fill(0);
  if (length === 0) return 0;
  if (inode.form === 'inline') readInline(inode, offset, part);
  else await readBlocks(volume, inode, offset, part);
  return length;
}

/** The two places of content in an inode: that of the block map, and behind the fields. */
export function inlineParts(inode: Inode): [Buffer, Buffer] {
  const rest = parseInodeAttributes(inode.attributes).find(isInlineData);
  return [inode.map, rest?.value ?? Buffer.alloc(0)];
}

function readInline(inode: Inode, offset: number, target: Uint8Array): void {
  const bytes = Buffer.concat(inlineParts(inode));
  if (inode.sizeBytes > bytes.length) {
    const details = { structure: 'ext4 inline data', inode: inode.number };
    throw new CofferError('file-system-damaged', details);
  }
  target.set(bytes.subarray(offset, offset + target.length));
}

async function readBlocks(
  volume: Ext4Volume,
  inode: Inode,
  offset: number,
  target: Uint8Array,
): Promise<void> {
  const { blockBytes } = volume.superblock;
  const end = offset + target.length;
  const range = { first: Math.floor(offset / blockBytes), end: Math.ceil(end / blockBytes) };
  for await (const { from, to, place } of pieces(volume, inode, range)) {
    const start = Math.max(from, offset);
    const stop = Math.min(to, end);
    if (start >= stop) continue;
    const part = target.subarray(start - offset, stop - offset);
    await volume.disk.read(place + start - from, part);
  }
}

/** Bytes `from` up to `to` of a file lie at `place` of the volume. */
interface Piece {
  readonly from: number;
  readonly to: number;
  readonly place: number;
}

/** Runs as bytes; those that follow each other on the volume are one. */
async function* pieces(
  volume: Ext4Volume,
  inode: Inode,
  range: { first: number; end: number },
): AsyncIterable<Piece> {
  const { blockBytes } = volume.superblock;
  let last: Piece | undefined;
  for await (const { fileBlock, count, blockIndex } of blockRuns(volume, inode, range)) {
    if (blockIndex === undefined) continue;
    const from = fileBlock * blockBytes;
    const piece = { from, to: from + count * blockBytes, place: blockIndex * blockBytes };
    const isNext = last?.to === from && last.place + (last.to - last.from) === piece.place;
    if (last && !isNext) yield last;
    last = last && isNext ? { ...last, to: piece.to } : piece;
  }
  if (last) yield last;
}
