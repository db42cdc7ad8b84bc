/** Files that hold secrets: for their owner only, never written over, durable before they count. */
import { closeSync, fsyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { CofferError } from '@coffer/base/errors.ts';
import type { RecoveryKeyKeeper } from '@coffer/repository';

/** Fails with `target-unwritable`, also when there is such a file. */
export function writeSecretFile(file: string, secret: string): void {
  try {
    const fd = openSync(file, 'wx', 0o600);
    try {
      writeAndSync(fd, secret);
    } catch (error) {
      rmSync(file, { force: true });
      throw error;
    } finally {
      closeSync(fd);
    }
    syncFolder(dirname(file));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CofferError('target-unwritable', { path: file, reason }, error);
  }
}

/** Keeps a recovery key in a file; without one, it is shown to who keeps it elsewhere. */
export function recoveryKeyKeeper(file: string | undefined): RecoveryKeyKeeper {
  if (file === undefined) return { keep: () => {}, forget: () => {} };
  return {
    keep: (recoveryKey) => writeSecretFile(file, recoveryKey),
    forget: () => rmSync(file, { force: true }),
  };
}

function writeAndSync(fd: number, secret: string): void {
  const bytes = Buffer.from(`${secret}\n`);
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done);
  fsyncSync(fd);
}

function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } catch {
    // Some file systems cannot; the file itself is written.
  } finally {
    closeSync(fd);
  }
}
