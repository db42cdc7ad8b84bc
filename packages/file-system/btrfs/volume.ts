/** A volume of btrfs: its addresses, and its trees. */
import { isCofferError } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import { Recent } from '../recent.ts';
import { isChecksumRight } from './checksum-codec.ts';
import { type ChunkMap } from './chunk-codec.ts';
import { damaged } from './fields.ts';
import { compareKeys, type Key } from './key-codec.ts';
import { type Item, LEVEL_MAX, parseTreeBlock, type TreeBlock } from './node-codec.ts';
import type { BlockPointer, Superblock } from './superblock-codec.ts';

/** Tree blocks that are kept: 16 MiB of the usual size, parsed. */
const BLOCKS_KEPT = 512;

export class BtrfsVolume {
  readonly disk: Disk;
  readonly superblock: Superblock;
  readonly #chunks: ChunkMap;
  readonly #blocks = new Recent<number, TreeBlock>(BLOCKS_KEPT);

  constructor(disk: Disk, superblock: Superblock, chunks: ChunkMap) {
    this.disk = disk;
    this.superblock = superblock;
    this.#chunks = chunks;
  }

  /** Reads what is at an address, from the first copy that can be read. */
  async read(address: number, target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length;) {
      const place = this.#find(address + done, target.length - done);
      await this.#readCopy(place.copies, target.subarray(done, done + place.length));
      done += place.length;
    }
  }

  /** The items of a tree from one key to another, both included. */
  async *items(root: BlockPointer, first: Key, last: Key): AsyncGenerator<Item> {
    for await (const item of this.itemsFromBelow(root, first, last)) {
      if (compareKeys(item.key, first) >= 0) yield item;
    }
  }

  /** The same, and before them the last item below `first`, if there is one. */
  async *itemsFromBelow(root: BlockPointer, first: Key, last: Key): AsyncGenerator<Item> {
    if (root.level > LEVEL_MAX) throw damaged('tree', root.address, `level ${root.level}`);
    yield* this.#walk(root, await this.#block(root), { first, last });
  }

  async find(root: BlockPointer, key: Key): Promise<Item | undefined> {
    for await (const item of this.items(root, key, key)) return item;
    return undefined;
  }

  /**
   * A block is as its pointer says and begins with its key; keys are in strict order. So each block
   * is met once, and each level is one lower.
   */
  async *#walk(
    pointer: BlockPointer,
    block: TreeBlock,
    range: { readonly first: Key; readonly last: Key },
  ): AsyncGenerator<Item> {
    for (let index = floorIndex(block.keys, range.first); index < block.keys.length; index++) {
      const key = block.keys[index]!;
      if (compareKeys(key, range.last) > 0) return;
      if (block.form === 'leaf') {
        yield block.items[index]!;
        continue;
      }
      const child = block.children[index]!;
      const childBlock = await this.#block(child);
      const childKey = childBlock.keys[0];
      if (!childKey || compareKeys(childKey, key) !== 0) {
        throw damaged('tree block', child.address, `it is not what ${pointer.address} says`);
      }
      yield* this.#walk(child, childBlock, range);
    }
  }

  async #block(pointer: BlockPointer): Promise<TreeBlock> {
    const block = await this.#blocks.get(pointer.address, async () => await this.#load(pointer));
    const level = block.form === 'leaf' ? 0 : block.children[0]!.level + 1;
    if (level !== pointer.level) throw damaged('tree block', pointer.address, 'level');
    return block;
  }

  /** From the first copy that is whole. */
  async #load(pointer: BlockPointer): Promise<TreeBlock> {
    const { nodeBytes, checksumType } = this.superblock;
    const { copies, length } = this.#find(pointer.address, nodeBytes);
    if (length < nodeBytes) throw damaged('tree block', pointer.address, 'it leaves its chunk');
    let failure: unknown;
    for (const offset of copies) {
      try {
        const bytes = Buffer.alloc(nodeBytes);
        await this.#readDevice(offset, bytes);
        if (isChecksumRight(bytes, checksumType)) return parseTreeBlock(bytes, pointer);
        failure ??= damaged('tree block', pointer.address, 'checksum');
      } catch (error) {
        if (!isCofferError(error)) throw error;
        failure ??= error;
      }
    }
    throw failure;
  }

  async #readCopy(copies: readonly number[], target: Uint8Array): Promise<void> {
    let failure: unknown;
    for (const offset of copies) {
      try {
        await this.#readDevice(offset, target);
        return;
      } catch (error) {
        if (!isCofferError(error)) throw error;
        failure ??= error;
      }
    }
    throw failure;
  }

  async #readDevice(offset: number, target: Uint8Array): Promise<void> {
    if (offset + target.length > this.disk.sizeBytes) {
      throw damaged('chunk', offset, 'beyond the end of the volume');
    }
    await this.disk.read(offset, target);
  }

  #find(address: number, length: number): { copies: number[]; length: number } {
    const found = this.#chunks.find(address, length);
    if (!found) throw damaged('address', address, 'no chunk holds it');
    return found;
  }
}

/** Of the last key that is not above `key`, or 0. */
function floorIndex(keys: readonly Key[], key: Key): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareKeys(keys[middle]!, key) <= 0) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}
