/** `coffer restore POINT --instant`: a machine that runs at once. */
import { newUuid } from '@coffer/base';
import { restoreInstant } from '@coffer/flows/machine/restore-instant.ts';
import type { RestoreRequestOf } from '@coffer/flows/request.ts';
import { openVmHost } from '../libvirt/compose.ts';
import { random } from '../compose.ts';
import { instantRecords } from '../instant/records.ts';
import { StartedKeeper } from '../instant/start-keeper.ts';
import { formatDuration, printLine, printOutcome } from '../output.ts';
import { requiredPassphrase } from '../passphrase.ts';
import { withBar } from '../progress.ts';
import { keepPassphrase } from '../secrets.ts';
import { namedPoint, withUnlocked } from '../session.ts';
import { chooseRepository, type GlobalOptions } from '../settings.ts';

export async function runRestoreInstant(
  request: RestoreRequestOf<'machine-instant'>,
  options: GlobalOptions,
): Promise<void> {
  const passphrase = await requiredPassphrase(options);
  // Asked for once: the repository is opened here, and by the process that serves it.
  keepPassphrase(passphrase);
  const uuid = newUuid(random);
  // To start takes it as long as all that is done here meanwhile.
  const repositoryAt = chooseRepository(options).location;
  await using serving = StartedKeeper.start({ uuid, repository: repositoryAt }, passphrase);
  await using host = await openVmHost(request.connect, request.networks);
  const result = await withUnlocked(options, async (repository) => {
    const point = await namedPoint(repository, request.point);
    const records = instantRecords();
    const instant = { ...request, repository, point, host, uuid, records, serving };
    return await withBar(options, (run) => restoreInstant(run, instant));
  });
  printOutcome(options, result, () => printRunning(result));
}

function printRunning({
  name,
  uuid,
  durationMs,
  migrated,
  folder,
}: Awaited<ReturnType<typeof restoreInstant>>): void {
  printLine(`Machine ${name} (${uuid}) runs after ${formatDuration(durationMs)}`);
  if (migrated) {
    printLine(`its disks are in ${folder}`);
    return;
  }
  printLine(`\nIts disks are on the point still. To move them to ${folder}:`);
  printLine(`  coffer instant migrate ${name}`);
  printLine(`To end it and remove all of it:`);
  printLine(`  coffer instant discard ${name}`);
}
