/**
 * Watches over the scratch space: the backup ends when what the guest overwrites takes more than it
 * may, or leaves too little on its disk. Should the space run out all the same, QEMU pauses the
 * machine; then the backup ends, and the machine goes on: nothing of it is lost.
 */
import { statfsSync } from 'node:fs';
import { type Clock, CofferError, isCofferError, systemErrorCode } from '@coffer/base';
import type { Domain, LibvirtConnection } from '../connection.ts';
import { endJob, resumeAfterIoError } from './job.ts';
import type { RunFolder } from './run-folder.ts';

const POLL_MS = 200;
/** What is left to others on the disk of the scratch files. */
const FREE_BYTES_MIN = 8 * 1024 * 1024;

export interface ScratchWatch extends AsyncDisposable {
  /**
   * Aborted with `scratch-full` when the space has run out, and with `target-unwritable` when nobody
   * can tell.
   */
  readonly signal: AbortSignal;
}

export interface ScratchWatchOptions {
  readonly connection: LibvirtConnection;
  readonly domain: Domain;
  readonly folder: RunFolder;
  /** What the scratch files may take. */
  readonly scratchBytesMax: number;
  /** A machine that was paused before stays so. */
  readonly wasRunning: boolean;
  readonly clock: Clock;
}

export function freeBytesOf(path: string): number {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}

export async function watchScratch(options: ScratchWatchOptions): Promise<ScratchWatch> {
  const { connection, domain } = options;
  const trouble = new AbortController();
  const end = new AbortController();
  let rescue: Promise<void> = Promise.resolve();
  const giveUp = (error: unknown): void => {
    if (trouble.signal.aborted) return;
    trouble.abort(error);
    // Whoever leaves the capture ends the job again, and hears what is wrong then.
    rescue = letGoOn(options).catch(() => {});
  };
  const stop = await connection.on('ioError', (event) => {
    const isOurs = event.domain.uuid === domain.uuid && event.action === 'pause';
    if (isOurs && event.reason === 'enospc') giveUp(full(options));
  });
  const polling = poll(options, giveUp, end.signal);
  return {
    signal: trouble.signal,
    [Symbol.asyncDispose]: async () => {
      stop();
      end.abort();
      await polling;
      await rescue;
    },
  };
}

async function poll(
  options: ScratchWatchOptions,
  giveUp: (error: unknown) => void,
  end: AbortSignal,
): Promise<void> {
  while (!end.aborted) {
    try {
      refuseScarce(options);
    } catch (error) {
      giveUp(error);
    }
    await options.clock.sleep(POLL_MS, end).catch(() => {
      // It is over.
    });
  }
}

/** Fails with `scratch-full`, and with `target-unwritable` when it cannot be seen. */
function refuseScarce(options: ScratchWatchOptions): void {
  const { folder, scratchBytesMax } = options;
  try {
    const used = folder.scratchBytes();
    const free = freeBytesOf(folder.path);
    if (used > scratchBytesMax) throw full(options, { used, limit: scratchBytesMax });
    if (used > 0 && free < FREE_BYTES_MIN) throw full(options, { used, free });
  } catch (error) {
    if (isCofferError(error)) throw error;
    const details = { path: folder.path, reason: systemErrorCode(error) };
    throw new CofferError('target-unwritable', details, error);
  }
}

function full(
  { domain, folder }: ScratchWatchOptions,
  details: Readonly<Record<string, number>> = {},
): CofferError {
  return new CofferError('scratch-full', { vm: domain.name, scratch: folder.path, ...details });
}

async function letGoOn(options: ScratchWatchOptions): Promise<void> {
  const { connection, domain, clock, wasRunning } = options;
  await endJob(connection, domain, clock);
  if (wasRunning) await resumeAfterIoError(connection, domain, clock);
}
