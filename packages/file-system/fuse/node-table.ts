/**
 * The numbers under which the kernel knows files: made when a name is looked up, and forgotten when
 * the kernel has forgotten all of its lookups. So the table is as large as what the kernel holds.
 *
 * A file keeps its number as long as it is known: it is told by its folder and name, or, where it has
 * several names, by the file that they share. A number is never used again.
 */
import { assert, type FileMetadata } from '@coffer/base';
import { type Forgotten, ROOT_NODE_ID } from './fuse-codec.ts';

interface Row<Node> {
  readonly node: Node;
  readonly key: string;
  lookupCount: number;
}

export class NodeTable<Node extends FileMetadata> {
  readonly #rows = new Map<number, Row<Node>>();
  readonly #idByKey = new Map<string, number>();
  readonly #root: Node;
  #nextId = ROOT_NODE_ID + 1;

  constructor(root: Node) {
    this.#root = root;
  }

  /** How many nodes the kernel holds, without the root. */
  get size(): number {
    return this.#rows.size;
  }

  /** Undefined for a number that was forgotten, or never given out. */
  get(id: number): Node | undefined {
    return id === ROOT_NODE_ID ? this.#root : this.#rows.get(id)?.node;
  }

  /** Counts a lookup of a name in a folder, and returns the number of the node. */
  look(folderId: number, node: Node): number {
    const key = keyOf(folderId, node);
    const known = this.#idByKey.get(key);
    const id = known ?? this.#nextId++;
    if (known === undefined) {
      this.#idByKey.set(key, id);
      this.#rows.set(id, { node, key, lookupCount: 1 });
    } else {
      const row = this.#rows.get(known);
      assert(row !== undefined, 'a key leads to a row');
      row.lookupCount++;
    }
    return id;
  }

  forget({ nodeId, lookupCount }: Forgotten): void {
    const row = this.#rows.get(nodeId);
    if (!row) return;
    row.lookupCount -= lookupCount;
    if (row.lookupCount > 0) return;
    this.#rows.delete(nodeId);
    this.#idByKey.delete(row.key);
  }
}

function keyOf(folderId: number, { type, hardLink, name }: FileMetadata): string {
  // The kernel knows a folder by one name only.
  if (hardLink && type !== 'directory') return `${hardLink.device}:${hardLink.inode}`;
  return `${folderId}/${name.toString('latin1')}`;
}
