/** Starts the process that keeps a machine running on its point, detached from this one. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CofferError } from '@coffer/base';
import { type InstantRecord, socketPathOf } from '@coffer/flows/restore/vm-instant.ts';
import { clock } from '../compose.ts';
import { cofferCommand } from './command.ts';
import { isServed } from './served.ts';

const START_TIMEOUT_MS = 60_000;
const POLL_MS = 20;
const SAID_LENGTH_MAX = 500;

/** Resolves when the disks are served. Fails with `tool-failed`, and what the process said. */
export async function startKeeper(record: InstantRecord, passphrase: string): Promise<void> {
  const logPath = join(record.runFolder, 'log');
  const log = openSync(logPath, 'a', 0o600);
  const words = cofferCommand('instant', 'keep', record.uuid, '--repo', record.repository);
  const [program, ...args] = words;
  const child = spawn(program!, args, {
    detached: true,
    stdio: ['ignore', log, log],
    // Not among the arguments, which everybody can read.
    env: { ...process.env, COFFER_PASSPHRASE: passphrase, COFFER_PASSPHRASE_FILE: '' },
  });
  closeSync(log);
  child.unref();
  const giveUpAt = clock.now() + START_TIMEOUT_MS;
  while (!(await isServed(socketPathOf(record)))) {
    if (child.exitCode !== null || clock.now() > giveUpAt) {
      const said = readFileSync(logPath, 'utf8').slice(-SAID_LENGTH_MAX);
      throw new CofferError('tool-failed', { tool: 'coffer instant keep', said });
    }
    await clock.sleep(POLL_MS);
  }
}
