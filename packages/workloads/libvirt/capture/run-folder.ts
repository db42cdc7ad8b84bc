/**
 * Where QEMU keeps what a backup needs: the socket, and scratch files for what the guest overwrites.
 * A run that was killed leaves its folder; the next one of the machine finds it by its name.
 */
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { CofferError, systemErrorCode } from '@coffer/base';

/** Beginning of the UUID: sockets must have short paths. */
const NAME_LENGTH = 8;
/** Says which process uses the folder. */
const OWNER = 'owner';

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

/**
 * Makes the folder, for the user that QEMU runs as: the owner of the machine's images. Only one run
 * can; fails with `vm-busy` otherwise.
 */
export function makeRunFolder({ path }: RunFolder, imagePath: string | undefined): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    mkdirSync(path, { mode: 0o700 });
    if (imagePath !== undefined && process.getuid?.() === 0) {
      const { uid, gid } = statSync(imagePath);
      chownSync(path, uid, gid);
    }
    chmodSync(path, 0o770);
    writeFileSync(join(path, OWNER), processIdentity(process.pid) ?? '');
  } catch (error) {
    const reason = systemErrorCode(error);
    // Another run was faster, by a moment.
    if (reason === 'EEXIST') throw new CofferError('vm-busy', { path }, error);
    throw new CofferError('target-unwritable', { path, reason }, error);
  }
}

export function removeRunFolder({ path }: RunFolder): void {
  rmSync(path, { recursive: true, force: true });
}

export function isLeftOver({ path }: RunFolder): boolean {
  return existsSync(path);
}

/** The process that made the folder, while it lives: then nothing in it is left over. */
export function liveOwner({ path }: RunFolder): number | undefined {
  try {
    const identity = readFileSync(join(path, OWNER), 'utf8');
    const pid = Number.parseInt(identity, 10);
    return identity !== '' && processIdentity(pid) === identity ? pid : undefined;
  } catch {
    return undefined;
  }
}

/** Number and start of a process, since numbers are used again; undefined when it does not live. */
function processIdentity(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // proc(5): behind the name in parentheses come state and 18 more fields before the start time.
    const startTime = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    return `${pid} ${startTime}`;
  } catch {
    return undefined;
  }
}

export function isMarkedFrozen({ frozenMark }: RunFolder): boolean {
  return existsSync(frozenMark);
}
