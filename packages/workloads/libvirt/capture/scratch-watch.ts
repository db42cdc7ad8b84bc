/**
 * Watches over the scratch space: the backup ends when what the guest overwrites takes more than it
 * may, or leaves too little on its disk. Should the space run out all the same, QEMU pauses the
 * machine; then the backup ends, and the machine goes on: nothing of it is lost.
 */
import { statfsSync } from 'node:fs';
import { type Clock, CofferError } from '@coffer/base';
import { type Domain, type LibvirtConnection, PAUSED_BY_IO_ERROR } from '../connection.ts';
import { endJob } from './job.ts';
import type { RunFolder } from './run-folder.ts';

const RESUME_ATTEMPTS_MAX = 20;
const RESUME_DELAY_MS = 250;
const POLL_MS = 200;
/** What is left to others on the disk of the scratch files. */
const FREE_BYTES_MIN = 8 * 1024 * 1024;

export interface ScratchWatch extends AsyncDisposable {
  /** Aborted with `scratch-full` when the space has run out. */
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
  const { connection, domain, folder } = options;
  const trouble = new AbortController();
  const end = new AbortController();
  let rescue: Promise<void> = Promise.resolve();
  const giveUp = (details: Readonly<Record<string, number>>): void => {
    if (trouble.signal.aborted) return;
    const known = { vm: domain.name, scratch: folder.path };
    trouble.abort(new CofferError('scratch-full', { ...known, ...details }));
    // Whoever leaves the capture ends the job again, and hears what is wrong then.
    rescue = letGoOn(options).catch(() => {});
  };
  const stop = await connection.on('ioError', (event) => {
    const isOurs = event.domain.uuid === domain.uuid && event.action === 'pause';
    if (isOurs && event.reason === 'enospc') giveUp({});
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
  { folder, scratchBytesMax, clock }: ScratchWatchOptions,
  giveUp: (details: Readonly<Record<string, number>>) => void,
  end: AbortSignal,
): Promise<void> {
  while (!end.aborted) {
    const used = folder.scratchBytes();
    const free = freeBytesOf(folder.path);
    if (used > scratchBytesMax) giveUp({ used, limit: scratchBytesMax });
    else if (used > 0 && free < FREE_BYTES_MIN) giveUp({ used, free });
    await clock.sleep(POLL_MS, end).catch(() => {
      // It is over.
    });
  }
}

async function letGoOn(options: ScratchWatchOptions): Promise<void> {
  const { connection, domain, clock, wasRunning } = options;
  await endJob(connection, domain, clock);
  if (wasRunning) await resume(options);
}

/** The first attempt may find the machine still on its way into the pause. */
async function resume({ connection, domain, clock }: ScratchWatchOptions): Promise<void> {
  for (let attempt = 0; attempt < RESUME_ATTEMPTS_MAX; attempt++) {
    const { state, reason } = await connection.state(domain);
    if (state === 'paused' && reason === PAUSED_BY_IO_ERROR) await connection.resume(domain);
    else if (state !== 'paused') return;
    await clock.sleep(RESUME_DELAY_MS);
  }
}
