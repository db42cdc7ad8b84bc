/** `coffer instant serve`: the child of the process that `restore --instant` leaves behind. */
import { chownSync, readFileSync, statSync } from 'node:fs';
import { type InstantRecord, socketPathOf } from '@coffer/flows/machine/instant-record.ts';
import { serveDisks } from '@coffer/flows/machine/served-disks.ts';
import { clock } from '../compose.ts';
import { instantRecords } from '../instant/records.ts';
import { printable } from '../printable.ts';
import { interrupted, interruptSignal } from '../run.ts';
import { keepPassphrase } from '../secrets.ts';
import { namedPoint, withUnlocked } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

const POLL_MS = 10;
/** Through which the keeper gives the passphrase. */
const STDIN = 0;

/** Ends when it is interrupted. */
export async function runInstantServe(uuid: string, options: GlobalOptions): Promise<void> {
  keepPassphrase(readFileSync(STDIN, 'utf8'));
  await withUnlocked(options, async (repository) => {
    const record = await recordOf(uuid);
    if (!record) return;
    const socketPath = socketPathOf(record);
    await using _served = await serveDisks({
      repository,
      point: await namedPoint(repository, record.point),
      disks: record.disks.map((disk) => disk.name),
      socketPath,
      onError: (error) => process.stderr.write(`coffer: ${printable(error.message)}\n`),
    });
    const { uid, gid } = statSync(record.runFolder);
    if (process.getuid?.() === 0) chownSync(socketPath, uid, gid);
    await interrupted();
  });
}

/** It is written when all is known of the machine; the repository is open by then. */
async function recordOf(uuid: string): Promise<InstantRecord | undefined> {
  for (;;) {
    const record = instantRecords().read(uuid);
    if (record || interruptSignal.aborted) return record;
    await clock.sleep(POLL_MS);
  }
}
