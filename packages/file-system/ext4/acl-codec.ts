/**
 * Access control lists: ext4 keeps them shorter than `getxattr` gives them, since entries for the
 * owner, the group, the mask and others need no id (Linux, `fs/ext4/acl.h` and `posix_acl_xattr.h`).
 */
import { CofferError } from '@coffer/base';

const STORED_VERSION = 1;
const GIVEN_VERSION = 2;
const NO_ID = 0xffffffff;
const TAG = { user: 0x02, group: 0x08 } as const;

/** The value of `system.posix_acl_access` or `_default`. Fails with `file-system-damaged`. */
export function givenAcl(stored: Buffer): Buffer {
  if (stored.length < 4 || stored.readUInt32LE(0) !== STORED_VERSION) throw damaged('version');
  const version = Buffer.alloc(4);
  version.writeUInt32LE(GIVEN_VERSION);
  const parts = [version];
  for (let offset = 4; offset < stored.length;) {
    if (offset + 4 > stored.length) throw damaged('length');
    const tag = stored.readUInt16LE(offset);
    const hasId = tag === TAG.user || tag === TAG.group;
    if (hasId && offset + 8 > stored.length) throw damaged('length');
    const entry = Buffer.alloc(8);
    stored.copy(entry, 0, offset, offset + 4);
    entry.writeUInt32LE(hasId ? stored.readUInt32LE(offset + 4) : NO_ID, 4);
    parts.push(entry);
    offset += hasId ? 8 : 4;
  }
  return Buffer.concat(parts);
}

function damaged(reason: string): CofferError {
  return new CofferError('file-system-damaged', { structure: 'ext4 access control list', reason });
}
