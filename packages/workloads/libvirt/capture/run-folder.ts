/**
 * Where QEMU keeps what a backup needs: the socket, and scratch files for what the guest overwrites.
 * A run that was killed leaves its folder; the next one of the machine finds it by its name.
 */
import { chmodSync, chownSync, existsSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { CofferError, systemErrorCode } from '@coffer/base';

/** Beginning of the UUID: sockets must have short paths. */
const NAME_LENGTH = 8;

export interface RunFolder {
  readonly path: string;
  readonly socketPath: string;
  /** Here while the guest may be frozen, so that the next run thaws it if this one is killed. */
  readonly frozenMark: string;
  scratchPath(target: string): string;
}

export function runFolderOf(scratchFolder: string, uuid: string): RunFolder {
  const path = join(scratchFolder, `coffer-vm-${uuid.slice(0, NAME_LENGTH)}`);
  return {
    path,
    socketPath: join(path, 'nbd'),
    frozenMark: join(path, 'frozen'),
    scratchPath: (target) => join(path, `${target}.scratch`),
  };
}

/** Makes the folder, for the user that QEMU runs as: the owner of the machine's images. */
export function makeRunFolder({ path }: RunFolder, imagePath: string | undefined): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    if (imagePath !== undefined && process.getuid?.() === 0) {
      const { uid, gid } = statSync(imagePath);
      chownSync(path, uid, gid);
    }
    chmodSync(path, 0o770);
  } catch (error) {
    throw new CofferError('target-unwritable', { path, reason: systemErrorCode(error) }, error);
  }
}

export function removeRunFolder({ path }: RunFolder): void {
  rmSync(path, { recursive: true, force: true });
}

export function isLeftOver({ path }: RunFolder): boolean {
  return existsSync(path);
}

export function isMarkedFrozen({ frozenMark }: RunFolder): boolean {
  return existsSync(frozenMark);
}
