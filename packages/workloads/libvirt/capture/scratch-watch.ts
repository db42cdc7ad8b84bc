/**
 * Watches for the one thing by which a backup can stop a guest: when what it overwrites finds no space,
 * QEMU pauses the machine. Then the backup ends, and the machine goes on: nothing of it is lost.
 */
import { type Clock, CofferError } from '@coffer/base';
import type { Domain, LibvirtConnection } from '../connection.ts';
import { endJob } from './job.ts';
import type { RunFolder } from './run-folder.ts';

const RESUME_ATTEMPTS_MAX = 20;
const RESUME_DELAY_MS = 250;

export interface ScratchWatch extends AsyncDisposable {
  /** Aborted with `scratch-full` when the space has run out. */
  readonly signal: AbortSignal;
}

export interface ScratchWatchOptions {
  readonly connection: LibvirtConnection;
  readonly domain: Domain;
  readonly folder: RunFolder;
  /** A machine that was paused before stays so. */
  readonly wasRunning: boolean;
  readonly clock: Clock;
}

export async function watchScratch(options: ScratchWatchOptions): Promise<ScratchWatch> {
  const { connection, domain, folder, wasRunning, clock } = options;
  const trouble = new AbortController();
  let rescue: Promise<void> = Promise.resolve();
  const stop = await connection.on('ioError', (event) => {
    const isOurs = event.domain.uuid === domain.uuid && event.action === 'pause';
    if (!isOurs || event.reason !== 'enospc' || trouble.signal.aborted) return;
    const details = { vm: domain.name, scratch: folder.path };
    trouble.abort(new CofferError('scratch-full', details));
    rescue = endJob(connection, domain, clock)
      .then(() => (wasRunning ? resume(options) : undefined))
      // Whoever leaves the capture ends the job again, and hears what is wrong then.
      .catch(() => {});
  });
  return {
    signal: trouble.signal,
    [Symbol.asyncDispose]: async () => {
      stop();
      await rescue;
    },
  };
}

/** The first attempt may find the machine still on its way into the pause. */
async function resume({ connection, domain, clock }: ScratchWatchOptions): Promise<void> {
  for (let attempt = 0; attempt < RESUME_ATTEMPTS_MAX; attempt++) {
    const { state } = await connection.state(domain);
    if (state === 'running') return;
    await connection.resume(domain);
    await clock.sleep(RESUME_DELAY_MS);
  }
}
