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
  readonly folder: RunFolder;
  /** How long a job of someone else is waited for. */
  readonly waitMs: number;
}

/** What could not be done, and is for the run after this one. */
export interface Left {
  /** The mark of a guest whose applications may still be at rest: its agent does not answer. */
  readonly frozen: string | undefined;
}

const NOTHING: Left = { frozen: undefined };

/** Fails with `vm-busy` when another run, or another job, has the machine. */
export async function cleanLeftovers(options: LeftoverOptions): Promise<Left> {
  const { connection, domain, clock, folder, waitMs } = options;
  refuseLive(folder, domain);
  const isOff = (await connection.state(domain)).state === 'shutoff';
  const left = isOff ? NOTHING : await cleanRunning(options);
  // Another run may have begun meanwhile.
  refuseLive(folder, domain);
  folder.remove();
  if ((await connection.state(domain)).state === 'shutoff') return NOTHING;
  await waitForOthers(connection, domain, { clock, timeoutMs: waitMs });
  return left;
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
  return here.frozen === undefined ? left : here;
}

async function letGo(options: LeftoverOptions): Promise<Left> {
  const { connection, domain, clock, folder, waitMs } = options;
  if ((await connection.state(domain)).state === 'paused') {
    const id = String(domain.id);
    const started = folder.marked('started');
    // Without a number, the run was killed while it started the machine, which never ran since.
    if (started === '' || started === id) {
      await connection.destroy(domain);
      return NOTHING;
    }
    if (folder.marked('suspended') === id) await connection.resume(domain);
  }
  const frozen = folder.marked('frozen');
  if (frozen === undefined) return NOTHING;
  if ((await connection.state(domain)).state === 'paused') {
    // While its memory is written, for one, the guest stands still and hears nothing.
    await waitForOthers(connection, domain, { clock, timeoutMs: waitMs });
  }
  const selfThawsAt = frozen === '' ? undefined : Number(frozen);
  const isLetGo = await releaseLeftover({ connection, domain, clock, selfThawsAt });
  return isLetGo ? NOTHING : { frozen };
}
