/**
 * Mounts a file system in a folder, read-only, through Linux FUSE.
 *
 * The process that serves must not use its own mount: by synchronous calls it would wait for itself,
 * and with a file open there, it could neither start a program nor be killed.
 */
import { lstat, readdir } from 'node:fs/promises';
import { CofferError, type FileMetadata, systemErrorCode } from '@coffer/base';
import type { FileSystem } from '../file-system.ts';
import { FuseDevice } from './device.ts';
import { MountedFolder } from './fusermount.ts';
import { FuseServer } from './server.ts';

export interface MountOptions {
  /** What `df` and `mount` show as the source. */
  readonly name: string;
  /** Unmounts when it is aborted. */
  readonly signal?: AbortSignal | undefined;
  /** Lets other users in; needs root, or `user_allow_other` in /etc/fuse.conf. */
  readonly allowOther?: boolean | undefined;
  /** Told of failures of the file system; who read got EIO. */
  readonly onError?: ((error: unknown) => void) | undefined;
}

export interface Mount {
  readonly folder: string;
  /** Also while files are open: who has them open gets errors. The file system is left open. */
  unmount(): Promise<void>;
  /** Settles when the mount has ended, by `unmount` or from outside. */
  readonly ended: Promise<void>;
}

/**
 * Serves until it is unmounted, or the process ends in whatever way. Fails with `mount-failed` when
 * the folder is missing, not empty or not ours, or the system refuses; with `tool-missing` when
 * `fusermount3` is not installed.
 */
export async function mountFileSystem<Node extends FileMetadata>(
  fileSystem: FileSystem<Node>,
  folder: string,
  options: MountOptions,
): Promise<Mount> {
  options.signal?.throwIfAborted();
  await checkFolder(folder);
  const mounted = await MountedFolder.mount(folder, mountOptions(options));
  const server: FuseServer<Node> = new FuseServer(fileSystem, {
    answer: (unique, errno, body) => device.answer(unique, errno, body),
    onError: options.onError,
  });
  const device: FuseDevice = new FuseDevice(mounted.fd, (request) => server.handle(request));
  const report = (error: unknown): void => options.onError?.(error);
  let unmounting: Promise<void> | undefined;
  const ended = device.ended.then(async () => {
    if (unmounting === undefined) mounted.release();
    await unmounting?.catch(report);
    await server.close();
  });
  const unmount = async (): Promise<void> => {
    if (device.isOpen) {
      device.close();
      unmounting ??= mounted.unmount();
    }
    await unmounting;
    await ended;
  };
  const onAbort = (): void => void unmount().catch(report);
  options.signal?.addEventListener('abort', onAbort);
  void ended.then(() => options.signal?.removeEventListener('abort', onAbort));
  if (options.signal?.aborted === true) onAbort();
  return { folder, unmount, ended };
}

async function checkFolder(folder: string): Promise<void> {
  const userId = process.geteuid?.() ?? 0;
  try {
    const stats = await lstat(folder);
    if (!stats.isDirectory()) throw refused(folder, 'it is not a folder');
    if (userId !== 0 && stats.uid !== userId) throw refused(folder, 'it is not yours');
    if ((await readdir(folder)).length > 0) throw refused(folder, 'it is not empty');
  } catch (error) {
    if (error instanceof CofferError) throw error;
    throw refused(folder, systemErrorCode(error) ?? 'unknown', error);
  }
}

function refused(folder: string, reason: string, cause?: unknown): CofferError {
  return new CofferError('mount-failed', { folder, reason }, cause);
}

/** The source is text from a user: a comma would end the option. */
function mountOptions({ name, allowOther }: MountOptions): string[] {
  const source = name.replaceAll(/\p{Cc}/gu, '?').replaceAll(/[\\,]/g, String.raw`\$&`);
  const options = ['ro', 'nosuid', 'nodev', 'default_permissions', 'subtype=coffer'];
  return [...options, `fsname=${source}`, ...(allowOther === true ? ['allow_other'] : [])];
}
