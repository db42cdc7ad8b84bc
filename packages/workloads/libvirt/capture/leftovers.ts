/** What a run that was killed has left of a machine: a job, a guest that is held still, a folder. */
import { type Clock, CofferError } from '@coffer/base';
import { type Domain, type LibvirtConnection } from '../connection.ts';
import { releaseLeftover } from './hold.ts';
import { endJob, socketOfJob, waitForOthers } from './job.ts';
import { RunFolder } from './run-folder.ts';

export interface LeftoverOptions {
  readonly connection: LibvirtConnection;
  readonly domain: Domain;
  readonly clock: Clock;
  readonly folder: RunFolder;
  /** How long a job of someone else is waited for. */
  readonly waitMs: number;
}

/** Fails with `vm-busy` when another run, or another job, has the machine. */
export async function cleanLeftovers(options: LeftoverOptions): Promise<void> {
  const { connection, domain, clock, folder, waitMs } = options;
  refuseLive(folder, domain);
  if ((await connection.state(domain)).state !== 'shutoff') await cleanRunning(options);
  // Another run may have begun meanwhile.
  refuseLive(folder, domain);
  folder.remove();
  if ((await connection.state(domain)).state === 'shutoff') return;
  await waitForOthers(connection, domain, { clock, timeoutMs: waitMs });
}

function refuseLive(folder: RunFolder, { name }: Domain): void {
  const processId = folder.liveOwner();
  if (processId !== undefined) throw new CofferError('vm-busy', { vm: name, processId });
}

/** A job of ours that nobody reads from; the run may have had its folder elsewhere. */
async function cleanRunning(options: LeftoverOptions): Promise<void> {
  const { connection, domain, clock, folder } = options;
  const socketPath = await socketOfJob(connection, domain);
  const ofJob = socketPath === undefined ? undefined : RunFolder.ofSocket(socketPath, domain.uuid);
  if (ofJob) {
    refuseLive(ofJob, domain);
    await endJob(connection, domain, clock);
    await letGo({ ...options, folder: ofJob });
    ofJob.remove();
  }
  await letGo({ ...options, folder });
}

async function letGo({ connection, domain, clock, folder }: LeftoverOptions): Promise<void> {
  const frozen = folder.marked('frozen');
  if (frozen !== undefined) {
    const selfThawsAt = frozen === '' ? undefined : Number(frozen);
    await releaseLeftover({ connection, domain, clock, selfThawsAt });
  }
  if ((await connection.state(domain)).state !== 'paused') return;
  const id = String(domain.id);
  const started = folder.marked('started');
  // Without a number, the run was killed while it started the machine, which never ran since.
  if (started === '' || started === id) await connection.destroy(domain);
  else if (folder.marked('suspended') === id) await connection.resume(domain);
}
