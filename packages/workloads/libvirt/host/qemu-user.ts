/** Who QEMU runs as: what it is to use has to be its own. */
import { execFile } from 'node:child_process';
import { chmodSync, chownSync, existsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { CofferError, systemErrorCode, toolEnvironment } from '@coffer/base';
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

/**
 * Whether the user of QEMU gets to what is in a folder or, where it is not there yet, in the one above.
 * Permissions of each folder on the way count, also those of access control lists: the kernel is asked.
 */
export async function canEnter(user: User | undefined, folder: string): Promise<boolean> {
  if (user === undefined || process.getuid?.() !== 0) return true;
  const place = existsSync(folder) ? folder : dirname(folder);
  const { userId, groupId } = user;
  const groups = (await hasName(userId)) ? '--init-groups' : '--clear-groups';
  const asUser = ['--reuid', `${userId}`, '--regid', `${groupId}`, groups];
  return await endsWell('setpriv', [...asUser, 'test', '-x', place]);
}

/** Groups are those of a name. */
async function hasName(userId: number): Promise<boolean> {
  return await endsWell('getent', ['passwd', `${userId}`]);
}

async function endsWell(tool: string, args: readonly string[]): Promise<boolean> {
  try {
    await promisify(execFile)(tool, [...args], { env: toolEnvironment() });
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') throw new CofferError('tool-missing', { tool }, error);
    return false;
  }
}
