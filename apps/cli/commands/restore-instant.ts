/** `coffer restore POINT --instant`: a machine that runs at once. */
import { CofferError, type RunContext } from '@coffer/base';
import { holderOf, type InstantRecord } from '@coffer/flows/machine/instant-record.ts';
import { instantRecords } from '../instant/records.ts';
import { StartedKeeper } from '../instant/start-keeper.ts';
import { newUuid, openVmHost } from '../libvirt/compose.ts';
import { formatDuration, printLine, printOutcome } from '../output.ts';
import { requiredPassphrase } from '../passphrase.ts';
import { splitPointPath } from '../point-path.ts';
import { withBar } from '../progress.ts';
import { keepPassphrase } from '../secrets.ts';
import { namedPoint, withUnlocked } from '../session.ts';
import { chooseRepository } from '../settings.ts';
import type { RestoreCommandOptions } from './restore.ts';
import { folderOf, networksOf } from './restore-vm.ts';

export async function runRestoreInstant(
  source: string,
  options: RestoreCommandOptions,
): Promise<void> {
  const { as: name, connect, migrate = false } = options;
  if (name === undefined) throw new CofferError('usage', { reason: '--instant needs --as NAME' });
  const passphrase = await requiredPassphrase(options);
  // Asked for once: the repository is opened here, and by the process that serves it.
  keepPassphrase(passphrase);
  const uuid = newUuid();
  const place = { uuid, repository: chooseRepository(options).location };
  // To start takes it as long as all that is done here meanwhile.
  await using keeper = StartedKeeper.start(place, passphrase);
  await using opened = await openVmHost(connect, networksOf(options));
  const { host } = opened;
  await host.giveFiles([keeper.runFolder]);
  const folder = await folderOf(host, options);
  const records = instantRecords();
  // Loaded while the key is derived.
  const flow = import('@coffer/flows/machine/restore-instant.ts');
  const result = await withUnlocked(options, async (repository) => {
    const { migrateInstant, restoreVmInstant } = await flow;
    const point = await namedPoint(repository, splitPointPath(source).name);
    const restoring = {
      repository,
      point,
      host,
      name,
      uuid,
      folder,
      connect,
      runFolder: keeper.runFolder,
      records,
      serve: () => keeper.serves(),
    };
    const restored = await withBar(options, (run) => restoreVmInstant(run, restoring));
    keeper.release();
    const record = records.read(uuid);
    const releasePoint = (run: RunContext, held: InstantRecord): Promise<void> =>
      repository.during(run).release(point, holderOf(held));
    const left =
      migrate && record
        ? await withBar(options, (run) =>
            migrateInstant(run, { host, records, releasePoint }, record),
          )
        : [];
    return { ...restored, migrated: migrate, findings: [...restored.findings, ...left] };
  });
  printOutcome(options, result, () => {
    printLine(`Machine ${name} (${uuid}) runs after ${formatDuration(result.durationMs)}`);
    if (migrate) {
      printLine(`its disks are in ${folder}`);
      return;
    }
    printLine(`\nIts disks are on the point still. To move them to ${folder}:`);
    printLine(`  coffer instant migrate ${name}`);
    printLine(`To end it and remove all of it:`);
    printLine(`  coffer instant discard ${name}`);
  });
}
