/** Whether a file system is shared between machines. */
import { statfsSync } from 'node:fs';

/** Magic numbers of statfs(2): NFS, SMB (three), CIFS, 9P, AFS, Ceph, GFS2, OCFS2, Lustre, FUSE. */
const SHARED_TYPES = new Set([
  0x6969, 0x517b, 0xfe534d42, 0xff534d42, 0x01021997, 0x5346414f, 0x00c36400, 0x01161970,
  0x7461636f, 0x0bd00bd0, 0x65735546,
]);

/**
 * True where other machines may see the same files, which have a clock of their own there, and no
 * memory that is shared through them. Of FUSE, nobody can tell, so it counts. Fails as statfs does.
 */
export function isOnNetworkFileSystem(path: string | Buffer): boolean {
  // A negative number on some machines, where the type has 32 bits.
  return SHARED_TYPES.has(statfsSync(path).type >>> 0);
}
