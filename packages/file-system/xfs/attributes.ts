/** All extended attributes of an inode. */
import type { ExtendedAttribute } from '@coffer/base';
import { linuxAcl } from './acl-codec.ts';
import {
  type Attribute,
  type AttributeBlock,
  parseAttributeBlock,
  parseSmallAttributes,
} from './attribute-codec.ts';
import { damaged, Fields, unsupported } from './fields.ts';
import { readFork } from './fork.ts';
import type { Fork, Inode } from './inode-codec.ts';
import { readRemoteValue } from './remote.ts';
import type { Volume } from './volume.ts';

const LEVEL_MAX = 8;
/** Linux lists 64 KiB of names; this bounds the memory for values. */
const VALUES_BYTES_MAX = 16 * 1024 * 1024;
const ACL_PREFIX = 'system.posix_acl_';

export async function readAttributes(volume: Volume, inode: Inode): Promise<ExtendedAttribute[]> {
  const fork = inode.attributes;
  if (!fork) return [];
  const found: ExtendedAttribute[] = [];
  let size = 0;
  for await (const { name, value } of attributesIn(volume, inode, fork)) {
    const isHere = value instanceof Fields;
    const fields = isHere ? value : await readRemoteValue(volume, fork, inode.number, value);
    size += fields.length;
    if (size > VALUES_BYTES_MAX) throw unsupported('attributes of over 16 MiB', inode.number);
    const isAcl = name.toString('latin1').startsWith(ACL_PREFIX);
    // A copy, since the bytes are a part of a block.
    found.push({ name, value: isAcl ? linuxAcl(fields) : Buffer.from(fields.bytes) });
  }
  return found.sort((a, b) => Buffer.compare(a.name, b.name));
}

async function* attributesIn(volume: Volume, inode: Inode, fork: Fork): AsyncIterable<Attribute> {
  if (fork.format === 'local') {
    yield* parseSmallAttributes(fork.bytes);
    return;
  }
  if (fork.format === 'extents' && fork.extentCount === 0) return;
  // Leaves are linked from the first to the last.
  const seen = new Set<number>();
  let block = await firstLeaf(volume, inode, fork);
  for (;;) {
    yield* block.attributes;
    if (block.next === 0) return;
    if (seen.has(block.next)) throw loop(inode, block.next);
    seen.add(block.next);
    const next = await readBlock(volume, inode, fork, block.next);
    if (next.kind !== 'leaf') throw loop(inode, block.next);
    block = next;
  }
}

async function firstLeaf(
  volume: Volume,
  inode: Inode,
  fork: Fork,
): Promise<Extract<AttributeBlock, { kind: 'leaf' }>> {
  let block = await readBlock(volume, inode, fork, 0);
  for (let levelMax = LEVEL_MAX; block.kind === 'node';) {
    if (block.level === 0 || block.level > levelMax) throw loop(inode, block.first);
    levelMax = block.level - 1;
    block = await readBlock(volume, inode, fork, block.first);
  }
  return block;
}

async function readBlock(
  volume: Volume,
  inode: Inode,
  fork: Fork,
  blockIndex: number,
): Promise<AttributeBlock> {
  const { geometry } = volume;
  const bytes = Buffer.allocUnsafe(geometry.blockBytes);
  const offset = blockIndex * geometry.blockBytes;
  await readFork(volume, fork, offset, bytes);
  const block = new Fields(bytes, `attributes of inode ${inode.number}`, offset);
  return parseAttributeBlock(block, geometry, inode.number);
}

function loop(inode: Inode, blockIndex: number): Error {
  const structure = `attributes of inode ${inode.number}`;
  return damaged(structure, inode.offset, `block ${blockIndex} is out of its place`);
}
