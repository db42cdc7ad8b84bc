/** The job of a machine: one at a time, of whoever began it. */
import { type Clock, CofferError } from '@coffer/base';
import {
  type Domain,
  type JobStats,
  type LibvirtConnection,
  PAUSED_BY_IO_ERROR,
} from '../connection.ts';
import { attributeOf, find, parseXml, rootOf } from '../domain/xml.ts';
import { LIBVIRT_CODE, libvirtCodeOf } from '../errors.ts';

const END_TIMEOUT_MS = 60_000;
const POLL_MS = 50;
const POLL_OTHERS_MS = 500;
const RESUME_ATTEMPTS_MAX = 20;
const RESUME_DELAY_MS = 250;

/** virDomainJobOperation, in the order of its numbers. */
const OPERATIONS = [
  'unknown',
  'start',
  'save',
  'restore',
  'incoming migration',
  'migration',
  'snapshot',
  'snapshot revert',
  'dump',
  'backup',
];

/** Ends the job; returns when it is over, since its socket and scratch files are gone then. */
export async function endJob(
  connection: LibvirtConnection,
  domain: Domain,
  clock: Clock,
): Promise<void> {
  if (!(await isJobActive(connection, domain))) return;
  await connection.abortJob(domain).catch((error: unknown) => {
    // It ended by itself meanwhile.
    if (libvirtCodeOf(error) !== LIBVIRT_CODE.operationInvalid) throw error;
  });
  const giveUpAt = clock.now() + END_TIMEOUT_MS;
  while (await isJobActive(connection, domain)) {
    if (clock.now() > giveUpAt) {
      throw new CofferError('vm-busy', { vm: domain.name, reason: 'the backup job does not end' });
    }
    await clock.sleep(POLL_MS);
  }
}

/** Ends a backup of ours. A machine that QEMU has paused for want of scratch space goes on. */
export async function endBackup(
  connection: LibvirtConnection,
  domain: Domain,
  clock: Clock,
): Promise<void> {
  await endJob(connection, domain, clock);
  const { state, reason } = await connection.state(domain);
  if (state === 'paused' && reason === PAUSED_BY_IO_ERROR) {
    await resumeAfterIoError(connection, domain, clock);
  }
}

/** The first attempt may find the machine still on its way into the pause. */
export async function resumeAfterIoError(
  connection: LibvirtConnection,
  domain: Domain,
  clock: Clock,
): Promise<void> {
  for (let attempt = 0; attempt < RESUME_ATTEMPTS_MAX; attempt++) {
    const { state, reason } = await connection.state(domain);
    if (state === 'paused' && reason === PAUSED_BY_IO_ERROR) await connection.resume(domain);
    else if (state !== 'paused') return;
    await clock.sleep(RESUME_DELAY_MS);
  }
}

/** Waits until no job of someone else runs. Fails with `vm-busy`, naming it, after the time-out. */
export async function waitForOthers({
  connection,
  domain,
  clock,
  signal,
  waitMs,
}: {
  readonly connection: LibvirtConnection;
  readonly domain: Domain;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly waitMs: number;
}): Promise<void> {
  const giveUpAt = clock.now() + waitMs;
  for (;;) {
    const stats = await connection.jobStats(domain);
    if (!isActive(stats)) return;
    if (clock.now() >= giveUpAt) {
      const job = OPERATIONS[Number(stats.values.get('operation') ?? 0)] ?? 'unknown';
      throw new CofferError('vm-busy', { vm: domain.name, job, waitedMs: waitMs });
    }
    await clock.sleep(Math.min(POLL_OTHERS_MS, giveUpAt - clock.now()), signal);
  }
}

async function isJobActive(connection: LibvirtConnection, domain: Domain): Promise<boolean> {
  return isActive(await connection.jobStats(domain));
}

function isActive({ type }: JobStats): boolean {
  return type === 'bounded' || type === 'unbounded';
}

/** Socket of the backup job that runs; undefined where none does. */
export async function socketOfJob(
  connection: LibvirtConnection,
  domain: Domain,
): Promise<string | undefined> {
  try {
    const backup = rootOf(parseXml(await connection.backupXml(domain), 'domainbackup'));
    return attributeOf(find(backup, 'server'), 'socket');
  } catch (error) {
    // There is no backup job; another kind may run.
    if (libvirtCodeOf(error) !== undefined) return undefined;
    throw error;
  }
}
