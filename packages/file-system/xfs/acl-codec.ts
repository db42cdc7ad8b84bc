/** Access control lists: XFS keeps them in a form of its own, Linux shows another to programs. */
import type { Fields } from './fields.ts';

const ENTRY_BYTES = 12;
const COUNT_MAX = 65_536 / ENTRY_BYTES;
const LINUX_VERSION = 2;
const LINUX_HEADER_BYTES = 4;
const LINUX_ENTRY_BYTES = 8;
const NO_ID = 0xffff_ffff;
/** Entries for a user or a group by number; others have none. */
const TAGS_WITH_ID: readonly number[] = [0x02, 0x08];

/** The value of `system.posix_acl_access` or `_default` (linux/posix_acl_xattr.h). */
export function linuxAcl(list: Fields): Buffer {
  const count = list.u32(0);
  if (count > COUNT_MAX) throw list.damaged(`${count} entries of an access control list`);
  const value = Buffer.alloc(LINUX_HEADER_BYTES + count * LINUX_ENTRY_BYTES);
  value.writeUInt32LE(LINUX_VERSION);
  for (let index = 0; index < count; index++) {
    const entry = list.part(4 + index * ENTRY_BYTES, ENTRY_BYTES);
    const tag = entry.u32(0) & 0xffff;
    const at = LINUX_HEADER_BYTES + index * LINUX_ENTRY_BYTES;
    value.writeUInt16LE(tag, at);
    value.writeUInt16LE(entry.u16(8), at + 2);
    value.writeUInt32LE(TAGS_WITH_ID.includes(tag) ? entry.u32(4) : NO_ID, at + 4);
  }
  return value;
}
