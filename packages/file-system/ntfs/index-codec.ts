/** Nodes of index B-trees: folders, and the index of security descriptors. */
import type { Fields } from './fields.ts';

export interface IndexEntry {
  /** The whole entry: where it leads is its first 8 bytes, in a way that the index knows. */
  readonly fields: Fields;
  /** Undefined in the last entry, which only leads to a child. */
  readonly key: Fields | undefined;
  /** The node with what comes before the entry. */
  readonly child: number | undefined;
}

const HAS_CHILD = 1;
const IS_LAST = 2;
const ENTRY_BYTES_MIN = 16;

/** `node` begins with the header of a node. The last entry is the one without key. */
export function parseEntries(node: Fields): IndexEntry[] {
  const entries = node.part(0, node.u32(4));
  const found: IndexEntry[] = [];
  for (let at = node.u32(0); ;) {
    const length = entries.u16(at + 8);
    if (length < ENTRY_BYTES_MIN) throw node.damaged(`an entry of ${length} bytes at ${at}`);
    const fields = entries.part(at, length);
    const flags = fields.u16(12);
    const isLast = (flags & IS_LAST) !== 0;
    found.push({
      fields,
      key: isLast ? undefined : fields.part(ENTRY_BYTES_MIN, fields.u16(10)),
      child: (flags & HAS_CHILD) === 0 ? undefined : fields.size64(length - 8),
    });
    if (isLast) return found;
    at += length;
  }
}
