/** Index B-trees, walked in order. */
import { damaged, Fields } from './fields.ts';
import { findStream, findValue, type TableFile } from './file-table.ts';
import { undoFixups } from './fixup-codec.ts';
import { type IndexEntry, parseEntries } from './index-codec.ts';
import { isPowerBetween } from './boot-codec.ts';
import { ATTRIBUTE } from './record-codec.ts';
import { readStream, type Stream } from './stream.ts';
import type { Volume } from './volume.ts';

/** Says where a key is: before what is sought, at it, or after it. */
export type Compare = (key: Fields) => number;

/** An entry that has a key. */
export interface KeyedEntry extends IndexEntry {
  readonly key: Fields;
}

const DEPTH_MAX = 32;
const NODE_BYTES_MAX = 64 * 1024;
/** Below this size of cluster a node is named by its cluster, else by its 512 bytes. */
const SMALL_UNIT_BYTES = 512;
const ROOT_HEADER_BYTES = 16;
const NODE_HEADER_BYTES = 24;

export class IndexTree {
  readonly #volume: Volume;
  readonly #root: Fields;
  readonly #nodes: Stream | undefined;
  readonly #nodeBytes: number;
  readonly #unitBytes: number;

  /** Fails with `file-system-damaged` when the file has no such index. */
  constructor(volume: Volume, file: TableFile, name: string) {
    const root = findValue(file, ATTRIBUTE.indexRoot, name);
    if (!root) {
      throw damaged(`file record ${file.reference.number}`, file.offset, `it has no index ${name}`);
    }
    const nodeBytes = root.u32(8);
    if (!isPowerBetween(nodeBytes, SMALL_UNIT_BYTES, NODE_BYTES_MAX)) {
      throw root.damaged(`nodes of ${nodeBytes} bytes`);
    }
    const { clusterBytes } = volume.geometry;
    this.#volume = volume;
    this.#root = root;
    this.#nodes = findStream(file, ATTRIBUTE.indexAllocation, name);
    this.#nodeBytes = nodeBytes;
    this.#unitBytes = clusterBytes <= nodeBytes ? clusterBytes : SMALL_UNIT_BYTES;
  }

  /** All entries whose key compares as 0, in order. No node is read twice. */
  async *entries(compare: Compare = () => 0): AsyncIterable<KeyedEntry> {
    const seen = new Set<number>();
    yield* this.#walk(this.#root.part(ROOT_HEADER_BYTES), compare, seen, 0);
  }

  async *#walk(
    node: Fields,
    compare: Compare,
    seen: Set<number>,
    depth: number,
  ): AsyncIterable<KeyedEntry> {
    if (depth > DEPTH_MAX) throw node.damaged(`deeper than ${DEPTH_MAX} nodes`);
    for (const entry of parseEntries(node)) {
      const { key, child } = entry;
      const order = key ? compare(key) : 1;
      if (order < 0) continue;
      if (child !== undefined) {
        yield* this.#walk(await this.#node(child, seen), compare, seen, depth + 1);
      }
      if (order > 0) return;
      yield { ...entry, key: key! };
    }
  }

  async #node(number: number, seen: Set<number>): Promise<Fields> {
    const offset = number * this.#unitBytes;
    if (seen.has(number)) throw damaged('index', offset, `node ${number} is named twice`);
    seen.add(number);
    const bytes = Buffer.allocUnsafe(this.#nodeBytes);
    const count = this.#nodes ? await readStream(this.#volume, this.#nodes, offset, bytes) : 0;
    const node = new Fields(bytes, 'index node', offset);
    if (count < bytes.length) throw node.damaged('it is outside of the index');
    if (bytes.toString('latin1', 0, 4) !== 'INDX') throw node.damaged('no signature');
    undoFixups(node);
    if (node.size64(16) !== number) throw node.damaged(`it says that it is ${node.u64(16)}`);
    return node.part(NODE_HEADER_BYTES);
  }
}
