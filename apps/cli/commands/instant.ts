/** `coffer instant`: machines that run on points. */
import { newProgress } from '@coffer/flows/progress.ts';
import { type InstantRecord, socketPathOf } from '@coffer/flows/restore/instant-record.ts';
import {
  discardInstant,
  type InstantOptions,
  migrateInstant,
} from '@coffer/flows/restore/vm-instant.ts';
import type { Repository } from '@coffer/repository';
import { instantRecordOf, instantRecords } from '../instant/records.ts';
import { isServed } from '../instant/served.ts';
import { StartedKeeper } from '../instant/start-keeper.ts';
import { openVmHost } from '../libvirt/compose.ts';
import { printLine, printResult } from '../output.ts';
import { requiredPassphrase } from '../passphrase.ts';
import { printable } from '../printable.ts';
import { showProgress } from '../progress.ts';
import { confirm, type ConfirmOptions } from '../prompt.ts';
import { interruptSignal } from '../run.ts';
import { withRepositoryAt } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

export async function runInstantList(options: GlobalOptions): Promise<void> {
  const found: (Pick<InstantRecord, 'vm' | 'uuid' | 'point' | 'repository'> & {
    served: boolean;
  })[] = [];
  for (const record of instantRecords().list()) {
    const { vm, uuid, point, repository } = record;
    found.push({ vm, uuid, point, repository, served: await isServed(socketPathOf(record)) });
  }
  printResult(options, found, () => {
    for (const { vm, uuid, point, served } of found) {
      const state = served ? 'is served' : `is NOT served: coffer instant resume ${vm}`;
      printLine(`${printable(vm)} (${uuid}) on point ${point} ${state}`);
    }
  });
}

export async function runInstantMigrate(name: string, options: GlobalOptions): Promise<void> {
  await withInstant(name, options, async (instant, record) => {
    const progress = newProgress();
    await showProgress(options, 'migrate', progress, () =>
      migrateInstant({ ...instant, progress }, record),
    );
    const images = record.disks.map(({ image }) => image);
    printResult(options, { vm: record.vm, uuid: record.uuid, images }, () => {
      printLine(`${record.vm} runs on images of its own:`);
      images.forEach((image) => printLine(`  ${image}`));
    });
  });
}

export async function runInstantDiscard(
  name: string,
  options: GlobalOptions & ConfirmOptions,
): Promise<void> {
  const { vm } = instantRecordOf(name);
  await confirm(options, `End ${vm} and remove what it has written since it was restored?`);
  await withInstant(name, options, async (instant, record) => {
    await discardInstant(instant, record);
    printResult(options, { vm, uuid: record.uuid, discarded: true }, () => {
      printLine(`${vm} is gone`);
    });
  });
}

/** After a restart of the host, or when the process that serves was ended. */
export async function runInstantResume(name: string, options: GlobalOptions): Promise<void> {
  const record = instantRecordOf(name);
  await using opened = await openVmHost(record.connect, new Map());
  const { host } = opened;
  if (!(await isServed(socketPathOf(record)))) {
    const passphrase = await requiredPassphrase({ ...options, repo: record.repository });
    await using keeper = StartedKeeper.start(record, passphrase);
    await host.giveFiles([keeper.runFolder]);
    await keeper.serves();
    keeper.release();
  }
  if ((await host.resumeAfterError(record.uuid)) === 'off') await host.start(record.uuid);
  printResult(options, { vm: record.vm, uuid: record.uuid, resumed: true }, () => {
    printLine(`${record.vm} runs on point ${record.point}`);
  });
}

async function withInstant(
  name: string,
  options: GlobalOptions,
  use: (instant: InstantOptions, record: InstantRecord) => Promise<void>,
): Promise<void> {
  const record = instantRecordOf(name);
  await using opened = await openVmHost(record.connect, new Map());
  const { host } = opened;
  // To release the point no key is needed.
  await withRepositoryAt(record.repository, options, 'none', async (repository: Repository) => {
    await use({ repository, host, records: instantRecords(), signal: interruptSignal }, record);
  });
}
