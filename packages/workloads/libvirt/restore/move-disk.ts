/** Moves a disk of a running machine to another image (libvirt: block copy), and goes on with that. */
import { rmSync } from 'node:fs';
import { CofferError, isCofferError, type RunContext, tellDone, tellTotal } from '@coffer/base';
import type { DiskImage } from '../../vm-host.ts';
import { type BlockJob, BLOCK_COPY, type Domain, type LibvirtConnection } from '../connection.ts';
import { parseDomain } from '../domain/domain.ts';
import { element, serializeXml } from '../domain/xml.ts';

/** One that begins just after the server came back may fail, and one more may as well. */
const ATTEMPTS_MAX = 5;
const POLL_MS = 100;
const RETRY_MS = 1000;

export interface MoveTarget {
  readonly connection: LibvirtConnection;
  readonly domain: Domain;
  readonly disk: string;
  readonly to: DiskImage;
}

export async function moveDisk(run: RunContext, target: MoveTarget): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    if (await tryToMove(run, target)) return;
    const { domain, disk } = target;
    if (attempt === ATTEMPTS_MAX) {
      const reason = 'the copy of a disk ends before it is whole';
      throw new CofferError('libvirt-failed', { vm: domain.name, disk, reason });
    }
    await run.clock.sleep(RETRY_MS, run.signal);
  }
}

/**
 * False when the copy has failed, which its end alone does not tell: a machine that runs on the new
 * image has none either. A copy that a killed run has begun is taken over.
 */
async function tryToMove(run: RunContext, target: MoveTarget): Promise<boolean> {
  const { clock, signal } = run;
  const { connection, domain, disk } = target;
  const progress = new JobProgress(run);
  if (!(await jobOf(target))) {
    if (await isMoved(target)) return true;
    await begin(target);
  }
  try {
    for (;;) {
      const job = await jobOf(target);
      if (!job) return await isMoved(target);
      progress.tell(job);
      if (job.total > 0 && job.done === job.total && (await pivot(target))) break;
      await clock.sleep(POLL_MS, signal);
    }
  } catch (error) {
    if (signal.aborted) await connection.blockJobAbort(domain, disk).catch(() => {});
    throw error;
  }
  while (await jobOf(target)) await clock.sleep(POLL_MS);
  return true;
}

/** A job says how far it is; who listens adds up. */
class JobProgress {
  readonly #run: RunContext;
  #told = { done: 0, total: 0 };

  constructor(run: RunContext) {
    this.#run = run;
  }

  tell({ done, total }: BlockJob): void {
    tellTotal(this.#run, { bytes: total - this.#told.total });
    tellDone(this.#run, { bytes: done - this.#told.done });
    this.#told = { done, total };
  }
}

async function jobOf({ connection, domain, disk }: MoveTarget): Promise<BlockJob | undefined> {
  return await connection.blockJobInfo(domain, disk);
}

async function isMoved({ connection, domain, disk, to }: MoveTarget): Promise<boolean> {
  const { disks } = parseDomain(await connection.xml(domain));
  const { source } = disks.find(({ target }) => target === disk) ?? {};
  return source?.kind === 'file' && source.path === to.path;
}

async function begin({ connection, domain, disk, to }: MoveTarget): Promise<void> {
  rmSync(to.path, { force: true });
  const xml = serializeXml(
    element('disk', { type: 'file' }, [
      element('driver', { name: 'qemu', type: to.format }),
      element('source', { file: to.path }),
    ]),
  );
  // Transient: libvirt would not move a disk that it has to remember otherwise.
  await connection.blockCopy(domain, disk, xml, BLOCK_COPY.transientJob);
}

/** False while the two are not in step yet. */
async function pivot({ connection, domain, disk }: MoveTarget): Promise<boolean> {
  try {
    await connection.blockJobAbort(domain, disk, { pivot: true });
    return true;
  } catch (error) {
    if (isCofferError(error, 'libvirt-failed') || isCofferError(error, 'vm-busy')) return false;
    throw error;
  }
}
