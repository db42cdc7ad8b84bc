/** The answer to READDIR and READDIRPLUS while it is filled: records as long as they fit. */
import type { FileMetadata } from '@coffer/base';
import { encodeEntry, encodeListed, ENTRY_BYTES, shownInode, UNKNOWN_INODE } from './fuse-codec.ts';

interface Listed<Node> {
  readonly record: Buffer;
  /** Not of `.` and `..`, which the kernel does not look up. */
  readonly node?: Node;
}

export class Listing<Node extends FileMetadata> {
  readonly #sizeBytesMax: number;
  readonly #withNodes: boolean;
  readonly #listed: Listed<Node>[] = [];
  #sizeBytes = 0;

  /** `withNodes`: each name comes with what a lookup would tell (`struct fuse_direntplus`). */
  constructor(sizeBytesMax: number, withNodes: boolean) {
    this.#sizeBytesMax = sizeBytesMax;
    this.#withNodes = withNodes;
  }

  /** False when there is no room for it. */
  add(node: Node, nextOffset: number): boolean {
    const { name, type } = node;
    const record = encodeListed({ name, type, inode: shownInode(node) }, nextOffset);
    return this.#add({ record, node });
  }

  /** `.` or `..`; the inode of the parent is not told. */
  addDots(name: '.' | '..', folder: Node, nextOffset: number): boolean {
    const inode = name === '.' ? shownInode(folder) : UNKNOWN_INODE;
    const dots = { name: Buffer.from(name), type: 'directory', inode } as const;
    return this.#add({ record: encodeListed(dots, nextOffset) });
  }

  /** `entryOf` counts the lookup of a node, and encodes it. */
  encode(entryOf: (node: Node) => Buffer): Buffer {
    if (!this.#withNodes) return Buffer.concat(this.#listed.map(({ record }) => record));
    return Buffer.concat(
      this.#listed.flatMap(({ record, node }) => [
        node ? entryOf(node) : encodeEntry(0, undefined),
        record,
      ]),
    );
  }

  #add(listed: Listed<Node>): boolean {
    const size = listed.record.length + (this.#withNodes ? ENTRY_BYTES : 0);
    if (this.#sizeBytes + size > this.#sizeBytesMax) return false;
    this.#sizeBytes += size;
    this.#listed.push(listed);
    return true;
  }
}
