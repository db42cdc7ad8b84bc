/** Starts the process that keeps a machine running on its point, detached from this one. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CofferError, type RunContext } from '@coffer/base';
import type { DiskServing, InstantPlace } from '@coffer/flows/machine/disk-serving.ts';
import { socketPathOf } from '@coffer/flows/machine/instant-record.ts';
import { cofferCommand, giveSecret } from './command.ts';
import { isServed } from '@coffer/flows/machine/served.ts';
import { runFolderOf } from './records.ts';

const START_TIMEOUT_MS = 60_000;
const POLL_MS = 20;
const SAID_LENGTH_MAX = 500;

/** Is ended when it is disposed, unless it was released before. */
export class StartedKeeper implements DiskServing {
  readonly runFolder: string;
  readonly #child: ChildProcess;
  #isReleased = false;

  private constructor(runFolder: string, child: ChildProcess) {
    this.runFolder = runFolder;
    this.#child = child;
  }

  /** It prepares all that it can, and begins to serve when there is a record of the machine. */
  static start(place: InstantPlace, passphrase: string): StartedKeeper {
    const runFolder = runFolderOf(place);
    // What an earlier one has left, or somebody else has put there, is not used.
    rmSync(runFolder, { recursive: true, force: true });
    mkdirSync(runFolder, { mode: 0o750 });
    const log = openSync(logPathIn(runFolder), 'a', 0o600);
    const words = ['instant', 'keep', place.uuid, String(process.pid)];
    const [program, ...args] = cofferCommand(...words, '--repo', place.repository);
    const child = spawn(program!, args, {
      detached: true,
      stdio: ['pipe', log, log],
    });
    giveSecret(child, passphrase);
    closeSync(log);
    child.unref();
    return new StartedKeeper(runFolder, child);
  }

  /** Resolves when the disks are served. Fails with `tool-failed`, and what the process said. */
  async serves({ clock, signal }: RunContext): Promise<void> {
    const giveUpAt = clock.now() + START_TIMEOUT_MS;
    while (!(await isServed(socketPathOf(this)))) {
      if (!this.#isAlive() || clock.now() > giveUpAt) {
        const said = readFileSync(logPathIn(this.runFolder), 'utf8').slice(-SAID_LENGTH_MAX);
        throw new CofferError('tool-failed', { tool: 'coffer instant keep', said });
      }
      await clock.sleep(POLL_MS, signal);
    }
  }

  /** From here on it goes on by itself. */
  release(): void {
    this.#isReleased = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isReleased) return;
    if (this.#isAlive()) {
      const ended = once(this.#child, 'exit');
      this.#child.ref();
      this.#child.kill('SIGTERM');
      await ended;
    }
    rmSync(this.runFolder, { recursive: true, force: true });
  }

  #isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }
}

/** What the process has to say. */
export function logPathIn(runFolder: string): string {
  return join(runFolder, 'log');
}
