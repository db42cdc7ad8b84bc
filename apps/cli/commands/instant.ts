/** `coffer instant`: machines that run on points. */
import { CofferError, type RunContext } from '@coffer/base';
import {
  holderOf,
  type InstantRecord,
  socketPathOf,
} from '@coffer/flows/machine/instant-record.ts';
import {
  discardInstant,
  type InstantOptions,
  migrateInstant,
  resumeInstant,
} from '@coffer/flows/machine/restore-instant.ts';
import { isServed } from '@coffer/flows/machine/served.ts';
import type { DiskServers } from '@coffer/flows/machine/disk-serving.ts';
import { openVmHost } from '../libvirt/compose.ts';
import { instantRecordOf, instantRecords } from '../instant/records.ts';
import { isKept } from '../instant/keeper-lock.ts';
import { logPathIn, StartedKeeper } from '../instant/start-keeper.ts';
import { printLine, printOutcome, printResult } from '../output.ts';
import { requiredPassphrase } from '../passphrase.ts';
import { printable } from '../printable.ts';
import { withBar } from '../progress.ts';
import { confirm, type ConfirmOptions } from '../prompt.ts';
import { withRepositoryAt } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

const SERVE_TIMEOUT_MS = 60_000;
const SERVE_POLL_MS = 100;

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
    const findings = await withBar(options, (run) => migrateInstant(run, instant, record));
    const images = record.disks.map(({ image }) => image);
    printOutcome(options, { vm: record.vm, uuid: record.uuid, images, findings }, () => {
      printLine(`${record.vm} runs on images of its own:`);
      images.forEach((image) => printLine(`  ${image}`));
    });
  });
}

export async function runInstantDiscard(
  name: string,
  options: GlobalOptions & ConfirmOptions,
): Promise<void> {
  const { vm } = await instantRecordOf(name);
  await confirm(options, `End ${vm} and remove what it has written since it was restored?`);
  await withInstant(name, options, async (instant, record) => {
    const findings = await withBar(options, (run) => discardInstant(run, instant, record));
    printOutcome(options, { vm, uuid: record.uuid, discarded: true, findings }, () => {
      printLine(`${vm} is gone`);
    });
  });
}

/** After a restart of the host, or when the process that serves was ended. */
export async function runInstantResume(name: string, options: GlobalOptions): Promise<void> {
  const record = await instantRecordOf(name);
  await using host = await openVmHost(record.connect);
  const servers: DiskServers = {
    isKept: ({ runFolder }) => isKept(runFolder),
    untilServed,
    start: async (place) =>
      StartedKeeper.start(place, await requiredPassphrase({ ...options, repo: record.repository })),
  };
  const records = instantRecords();
  await withBar(options, (run) => resumeInstant(run, { host, records, servers }, record));
  printResult(options, { vm: record.vm, uuid: record.uuid, resumed: true }, () => {
    printLine(`${record.vm} runs on point ${record.point}`);
  });
}

/** The process that keeps it is starting another server. */
async function untilServed({ clock, signal }: RunContext, record: InstantRecord): Promise<void> {
  const giveUpAt = clock.now() + SERVE_TIMEOUT_MS;
  while (!(await isServed(socketPathOf(record)))) {
    if (clock.now() > giveUpAt) {
      const said = `see ${logPathIn(record.runFolder)}`;
      throw new CofferError('tool-failed', { tool: 'coffer instant keep', said });
    }
    await clock.sleep(SERVE_POLL_MS, signal);
  }
}

async function withInstant(
  name: string,
  options: GlobalOptions,
  use: (instant: InstantOptions, record: InstantRecord) => Promise<void>,
): Promise<void> {
  const record = await instantRecordOf(name);
  await using host = await openVmHost(record.connect);
  const releasePoint = async (run: RunContext, held: InstantRecord): Promise<void> => {
    // No key is needed for it.
    await withRepositoryAt(held.repository, options, (repository) =>
      repository.during(run).release({ id: held.point }, holderOf(held)),
    );
  };
  await use({ host, records: instantRecords(), releasePoint }, record);
}
