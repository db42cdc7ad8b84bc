/** What a run that was killed has left of a machine: a job, a guest that is held still, a folder. */
import { type Clock, CofferError } from '@coffer/base';
import { type Domain, type LibvirtConnection } from '../connection.ts';
import { releaseLeftover } from './hold.ts';
import { endBackup, socketOfJob, waitForOthers } from './job.ts';
import { RunFolder } from './run-folder.ts';

export interface LeftoverOptions {
  readonly connection: LibvirtConnection;
  readonly domain: Domain;
  readonly clock: Clock;
  /** Ends the wait. */
  readonly signal: AbortSignal;
  readonly folder: RunFolder;
  /** How long a job of someone else is waited for. */
  readonly waitMs: number;
}

/**
 * What could not be done, and is for the run after this one: applications of a guest may still be at
 * rest, whose agent does not answer.
 */
export type Left = ReturnType<RunFolder['markedFrozen']>;

/** Fails with `vm-busy` when another run, or another job, has the machine. */
export async function cleanLeftovers(options: LeftoverOptions): Promise<Left> {
  const { connection, domain, folder } = options;
  refuseLive(folder, domain);
  const isOff = (await connection.state(domain)).state === 'shutoff';
  const left = isOff ? undefined : await cleanRunning(options);
  const isOffNow = (await connection.state(domain)).state === 'shutoff';
  if (!isOffNow) await waitForOthers(options);
  // Another run may have begun meanwhile.
  refuseLive(folder, domain);
  folder.remove();
  return isOffNow ? undefined : left;
}

function refuseLive(folder: RunFolder, { name }: Domain): void {
  const processId = folder.liveOwner();
  if (processId !== undefined) throw new CofferError('vm-busy', { vm: name, processId });
}

/** A job of ours that nobody reads from; the run may have had its folder elsewhere. */
async function cleanRunning(options: LeftoverOptions): Promise<Left> {
  const { connection, domain, clock } = options;
  const socketPath = await socketOfJob(connection, domain);
  const ofJob = socketPath === undefined ? undefined : RunFolder.ofSocket(socketPath, domain.uuid);
  if (!ofJob) return await letGo(options);
  refuseLive(ofJob, domain);
  await endBackup(connection, domain, clock);
  const left = await letGo({ ...options, folder: ofJob });
  ofJob.remove();
  const here = await letGo(options);
  return here ?? left;
}

async function letGo(options: LeftoverOptions): Promise<Left> {
  const { connection, domain, clock, folder } = options;
  if ((await connection.state(domain)).state === 'paused') {
    const id = String(domain.id);
    const started = folder.marked('started');
    // Without a number, the run was killed while it started the machine, which never ran since.
    if (started === '' || started === id) {
      await connection.destroy(domain);
      return undefined;
    }
    if (folder.marked('suspended') === id) await connection.resume(domain);
  }
  const frozen = folder.markedFrozen(domain);
  if (!frozen) return undefined;
  if ((await connection.state(domain)).state === 'paused') {
    // While its memory is written, for one, the guest stands still and hears nothing.
    await waitForOthers(options);
  }
  const isLetGo = await releaseLeftover({ connection, domain, clock, ...frozen });
  return isLetGo ? undefined : frozen;
}
