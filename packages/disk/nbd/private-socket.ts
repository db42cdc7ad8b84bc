/** Listening on a unix socket that is its owner's only, from the first moment on. */
import { chmodSync, closeSync, linkSync, mkdtempSync, openSync, rmSync, unlinkSync } from 'node:fs';
import type { Server } from 'node:net';
import { dirname, join } from 'node:path';
import { systemErrorCode } from '@coffer/base';
import { renameToNew } from '@coffer/base/folder-calls.ts';

const NAME = 'socket';

/**
 * The socket is made in a folder that nobody else can enter, and gets its name when it is private. The
 * umask would do it in one call, but it belongs to the process: whatever another thread makes in that
 * moment would be of no use to others either.
 *
 * Whoever has listened calls what this resolves to, and closes the server then. Fails with an error of
 * the system; when there is something of that name, with `EADDRINUSE`.
 */
export async function listenPrivately(server: Server, path: string): Promise<() => void> {
  const folder = mkdtempSync(join(dirname(path), '.coffer-'));
  const descriptor = openSync(folder, 'r');
  try {
    // By the descriptor, since paths of sockets are short. Node removes it by that path in the end.
    await listening(server, `/proc/self/fd/${descriptor}/${NAME}`);
    server.once('close', () => closeSync(descriptor));
  } catch (error) {
    closeSync(descriptor);
    rmSync(folder, { recursive: true });
    throw error;
  }
  try {
    publish(join(folder, NAME), path);
  } catch (error) {
    server.close();
    throw error;
  } finally {
    rmSync(folder, { recursive: true });
  }
  return () => removeName(path);
}

async function listening(server: Server, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Renamed, not linked: a socket is judged by the path that it has now (AppArmor does so). */
function publish(made: string, path: string): void {
  chmodSync(made, 0o600);
  try {
    moveToNew(made, path);
  } catch (error) {
    if (systemErrorCode(error) !== 'EEXIST') throw error;
    throw Object.assign(new Error('the name is taken'), { code: 'EADDRINUSE' });
  }
}

function moveToNew(made: string, path: string): void {
  try {
    renameToNew(Buffer.from(made), Buffer.from(path));
  } catch (error) {
    if (systemErrorCode(error) !== 'EINVAL') throw error;
    // Not every file system can; the name that is left over goes with its folder.
    linkSync(made, path);
  }
}

function removeName(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
  }
}
