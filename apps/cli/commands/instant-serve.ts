/** `coffer instant serve`: the child of the process that `restore --instant` leaves behind. */
import { chownSync, statSync } from 'node:fs';
import { type InstantRecord, socketPathOf } from '@coffer/flows/restore/instant-record.ts';
import { serveDisks } from '@coffer/flows/restore/served-disks.ts';
import { clock } from '../compose.ts';
import { instantRecords } from '../instant/records.ts';
import { printable } from '../printable.ts';
import { interrupted, interruptSignal } from '../run.ts';
import { namedPoint, withUnlocked } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

const POLL_MS = 10;

/** Ends when it is interrupted. */
export async function runInstantServe(uuid: string, options: GlobalOptions): Promise<void> {
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
