/** Who QEMU runs as: what it is to use has to be its own. */
import { chmodSync, chownSync, statSync } from 'node:fs';
import type { LibvirtConnection } from '../connection.ts';
import { parseCapabilities, type User } from './capabilities.ts';

/** A daemon of a session runs QEMU as its own user, to whom its socket belongs. */
export async function qemuUserOf(connection: LibvirtConnection): Promise<User | undefined> {
  const { qemuUser } = parseCapabilities(await connection.capabilities());
  if (qemuUser !== undefined || connection.socketPath === undefined) return qemuUser;
  const { uid: userId, gid: groupId } = statSync(connection.socketPath);
  return { userId, groupId };
}

/** Only root can give files away; for others, QEMU runs as they do. */
export function giveTo(user: User | undefined, ...paths: readonly string[]): void {
  if (user === undefined || process.getuid?.() !== 0) return;
  for (const path of paths) chownSync(path, user.userId, user.groupId);
}

/** A folder that the user of QEMU and nobody else can use. */
export function giveFolderTo(user: User | undefined, path: string): void {
  giveTo(user, path);
  chmodSync(path, 0o770);
}
