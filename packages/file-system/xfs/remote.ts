/** Values of attributes and targets of links that have blocks of their own. */
import { parseRemoteBlock, type RemoteValue } from './attribute-codec.ts';
import { Fields } from './fields.ts';
import { extentsOf, readFork } from './fork.ts';
import type { Fork } from './inode-codec.ts';
import type { Volume } from './volume.ts';

/** Bytes of a fork that have one header. */
interface Piece {
  readonly offset: number;
  readonly length: number;
}

/** More blocks than a link of 1024 bytes needs, whatever their size. */
const LINK_BLOCKS_MAX = 4;

/** The value of an attribute, where each block has a header. `length` is known to be small. */
export async function readRemoteValue(
  volume: Volume,
  fork: Fork,
  owner: bigint,
  { blockIndex, length }: RemoteValue,
): Promise<Fields> {
  const { blockBytes } = volume.geometry;
  function* blocks(): Iterable<Piece> {
    for (let index = blockIndex; ; index++)
      yield { offset: index * blockBytes, length: blockBytes };
  }
  const content = { fork, owner, length, magic: 'XARM', structure: 'value of an attribute' };
  return await readPieces(volume, content, blocks());
}

/** The target of a link, where each extent has a header. `length` is known to be small. */
export async function readRemoteLink(
  volume: Volume,
  fork: Fork,
  owner: bigint,
  length: number,
): Promise<Fields> {
  const { blockBytes } = volume.geometry;
  const pieces: Piece[] = [];
  for await (const { start, count } of extentsOf(volume, fork, 0, LINK_BLOCKS_MAX)) {
    const blocks = Math.min(count, LINK_BLOCKS_MAX - start);
    pieces.push({ offset: start * blockBytes, length: blocks * blockBytes });
  }
  return await readPieces(
    volume,
    { fork, owner, length, magic: 'XSLM', structure: 'link' },
    pieces,
  );
}

interface RemoteContent {
  readonly fork: Fork;
  readonly owner: bigint;
  readonly length: number;
  readonly magic: string;
  readonly structure: string;
}

async function readPieces(
  volume: Volume,
  { fork, owner, length, magic, structure }: RemoteContent,
  pieces: Iterable<Piece>,
): Promise<Fields> {
  const value = Buffer.alloc(length);
  let done = 0;
  for (const piece of pieces) {
    if (done === length) break;
    const bytes = Buffer.allocUnsafe(piece.length);
    await readFork(volume, fork, piece.offset, bytes);
    const stored = new Fields(bytes, structure, piece.offset);
    const part = volume.geometry.hasChecksums
      ? parseRemoteBlock(stored, { owner, offset: done, magic })
      : stored;
    if (part.length === 0) throw part.damaged('a block holds nothing');
    done += part.bytes.copy(value, done);
  }
  const whole = new Fields(value, structure, 0);
  if (done < length) throw whole.damaged(`it ends at ${done}, not at ${length}`);
  return whole;
}
