/** Machines that are off, for the time of their capture. */
import { CofferError } from '@coffer/base';
import { type Domain, type LibvirtConnection, PAUSED_BY_IO_ERROR } from '../connection.ts';
import { libvirtCodeOf } from '../errors.ts';
import type { Power } from './hold.ts';
import type { RunFolder } from './run-folder.ts';

/**
 * A machine that is off is started without running, so that both are captured in one way. One that
 * is saved would use up its saved memory by that: fails with `vm-saved`.
 */
export async function running(
  { connection, domain }: { readonly connection: LibvirtConnection; readonly domain: Domain },
  folder: RunFolder,
  scope: AsyncDisposableStack,
): Promise<{ domain: Domain; power: Power }> {
  const { state } = await connection.state(domain);
  if (state !== 'shutoff') return { domain, power: state === 'running' ? 'running' : 'paused' };
  if (await connection.hasManagedSave(domain)) {
    throw new CofferError('vm-saved', { vm: domain.name });
  }
  folder.mark('started');
  const created = await startPaused(connection, domain, folder);
  scope.defer(() => endStarted(connection, created, folder));
  folder.mark('started', String(created.id));
  return { domain: created, power: 'off' };
}

/** Without an answer of libvirt it may have been started: the mark stays for the next run. */
async function startPaused(
  connection: LibvirtConnection,
  domain: Domain,
  folder: RunFolder,
): Promise<Domain> {
  try {
    return await connection.create(domain, { paused: true });
  } catch (error) {
    if (libvirtCodeOf(error) !== undefined) folder.unmark('started');
    throw error;
  }
}

/** A machine that somebody has let run meanwhile, or has started again, is theirs. */
async function endStarted(
  connection: LibvirtConnection,
  started: Domain,
  folder: RunFolder,
): Promise<void> {
  const { id } = await connection.domainByUuid(started.uuid);
  const { state, reason } = await connection.state(started);
  if (id === started.id && state === 'paused') {
    const hasRun = reason === PAUSED_BY_IO_ERROR;
    await (hasRun ? connection.resume(started) : connection.destroy(started));
  }
  folder.unmark('started');
}
