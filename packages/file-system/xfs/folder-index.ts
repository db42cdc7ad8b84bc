/** Finds a name in a large folder by its hash, without reading all names. */
import { damaged, Fields } from './fields.ts';
import { type IndexBlock, nameHash, parseIndexBlock } from './folder-index-codec.ts';
import { readFork } from './fork.ts';
import type { Fork } from './inode-codec.ts';
import type { Volume } from './volume.ts';

/** Above this offset a folder has its index. */
export const INDEX_OFFSET = 32 * 1024 ** 3;
const LEVEL_MAX = 8;
/** Names with one hash are few; those of a hostile folder are not followed for ever. */
const LEAF_COUNT_MAX = 1024;

/** Where in the folder names with that hash are, in bytes. */
export async function findOffsets(
  volume: Volume,
  fork: Fork,
  owner: bigint,
  name: Buffer,
): Promise<number[]> {
  const hash = nameHash(name);
  const found: number[] = [];
  let leaf = await firstLeaf(volume, fork, owner, hash);
  for (let count = 1; leaf; count++) {
    const same = leaf.names.filter((some) => some.hash === hash && some.offset !== 0);
    for (const { offset } of same) found.push(offset);
    const isLast = leaf.next === 0 || leaf.names.at(-1)?.hash !== hash;
    if (isLast) break;
    const next = await readIndexBlock(volume, fork, owner, leaf.next);
    if (next.kind !== 'leaf' || count > LEAF_COUNT_MAX) throw outOfPlace(owner, leaf.next);
    leaf = next;
  }
  return found;
}

type Leaf = Extract<IndexBlock, { kind: 'leaf' }>;

/** Undefined when all hashes are lower. */
async function firstLeaf(
  volume: Volume,
  fork: Fork,
  owner: bigint,
  hash: number,
): Promise<Leaf | undefined> {
  let blockIndex = INDEX_OFFSET / volume.geometry.blockBytes;
  let block = await readIndexBlock(volume, fork, owner, blockIndex);
  for (let levelMax = LEVEL_MAX; block.kind === 'node';) {
    const { level, children } = block;
    if (level === 0 || level > levelMax) throw outOfPlace(owner, blockIndex);
    const child = children.find((some) => some.hash >= hash);
    if (!child) return undefined;
    ({ blockIndex } = child);
    block = await readIndexBlock(volume, fork, owner, blockIndex);
    levelMax = level - 1;
  }
  return block;
}

async function readIndexBlock(
  volume: Volume,
  fork: Fork,
  owner: bigint,
  blockIndex: number,
): Promise<IndexBlock> {
  const { blockBytes, folderBlockBytes } = volume.geometry;
  const bytes = Buffer.allocUnsafe(folderBlockBytes);
  const offset = blockIndex * blockBytes;
  await readFork(volume, fork, offset, bytes);
  return parseIndexBlock(
    new Fields(bytes, `index of folder ${owner}`, offset),
    volume.geometry,
    owner,
  );
}

function outOfPlace(owner: bigint, blockIndex: number): Error {
  return damaged(`index of folder ${owner}`, blockIndex, 'the block is out of its place');
}
