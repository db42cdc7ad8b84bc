/** What a run that was killed has left of a machine: a job, a guest that is held still, a folder. */
import { type Clock, CofferError } from '@coffer/base';
import { type Domain, type LibvirtConnection } from '../connection.ts';
import { releaseLeftover } from './hold.ts';
import { endJob, isOwnJob, waitForOthers } from './job.ts';
import type { RunFolder } from './run-folder.ts';

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
  const processId = folder.liveOwner();
  if (processId !== undefined) throw new CofferError('vm-busy', { vm: domain.name, processId });
  if (folder.exists()) {
    await cleanMachine(options);
    folder.remove();
  }
  if ((await connection.state(domain)).state === 'shutoff') return;
  await waitForOthers(connection, domain, { clock, timeoutMs: waitMs });
}

async function cleanMachine(options: LeftoverOptions): Promise<void> {
  const { connection, domain, clock, folder } = options;
  const { state } = await connection.state(domain);
  if (state === 'shutoff') return;
  if (await isOwnJob(connection, domain, folder.socketPath)) {
    await endJob(connection, domain, clock);
  }
  if (folder.marked('frozen') !== undefined) await releaseLeftover(options);
  if (state !== 'paused') return;
  const id = String(domain.id);
  const started = folder.marked('started');
  // Without a number, the run was killed while it started the machine, which never ran since.
  if (started === '' || started === id) await connection.destroy(domain);
  else if (folder.marked('suspended') === id) await connection.resume(domain);
}
