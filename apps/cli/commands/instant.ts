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
} from '@coffer/flows/machine/restore-instant.ts';
import { clock } from '../compose.ts';
import { instantRecordOf, instantRecords } from '../instant/records.ts';
import { isServed } from '../instant/served.ts';
import { isKept } from '../instant/keeper-lock.ts';
import { logPathIn, StartedKeeper } from '../instant/start-keeper.ts';
import { openVmHost } from '../libvirt/compose.ts';
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
  await using opened = await openVmHost(record.connect, new Map());
  const { host } = opened;
  // While its disks move, it can be resumed all the same.
  using _alone = instantRecords().lock(`${record.uuid}-keeper`);
  if (!(await host.find(record.uuid))) {
    const reason = 'it is gone: coffer instant discard removes what is left of it';
    throw new CofferError('vm-not-found', { vm: record.vm, reason });
  }
  if (isKept(record.runFolder)) await untilServed(record);
  else {
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

/** The process that keeps it is starting another server. */
async function untilServed(record: InstantRecord): Promise<void> {
  const giveUpAt = clock.now() + SERVE_TIMEOUT_MS;
  while (!(await isServed(socketPathOf(record)))) {
    if (clock.now() > giveUpAt) {
      const said = `see ${logPathIn(record.runFolder)}`;
      throw new CofferError('tool-failed', { tool: 'coffer instant keep', said });
    }
    await clock.sleep(SERVE_POLL_MS);
  }
}

async function withInstant(
  name: string,
  options: GlobalOptions,
  use: (instant: InstantOptions, record: InstantRecord) => Promise<void>,
): Promise<void> {
  const record = await instantRecordOf(name);
  await using opened = await openVmHost(record.connect, new Map());
  const { host } = opened;
  const releasePoint = async (run: RunContext, held: InstantRecord): Promise<void> => {
    // No key is needed for it.
    await withRepositoryAt(held.repository, options, (repository) =>
      repository.during(run).release({ id: held.point }, holderOf(held)),
    );
  };
  await use({ host, records: instantRecords(), releasePoint }, record);
}
