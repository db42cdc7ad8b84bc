/**
 * The process that keeps a machine running on its point: it has the disks served by a child, starts
 * another one when that dies, and lets the machine, which pauses meanwhile, go on. It ends when the
 * machine needs the point no more.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { isCofferError } from '@coffer/base';
import {
  type InstantRecord,
  type InstantRecords,
  socketPathOf,
} from '@coffer/flows/restore/vm-instant.ts';
import { clock } from '../compose.ts';
import { type OpenedVmHost, openVmHost } from '../libvirt/compose.ts';
import { interruptSignal } from '../run.ts';
import { cofferCommand } from './command.ts';
import { isServed } from './served.ts';

const POLL_MS = 500;
const RESTART_DELAY_MS = 200;
const START_TIMEOUT_MS = 60_000;

export async function keepServing(records: InstantRecords, uuid: string): Promise<void> {
  for (;;) {
    const record = records.read(uuid);
    if (!record || interruptSignal.aborted) return;
    await using server = await ServedMachine.start(record);
    await server.ends(() => records.read(uuid) === undefined);
    await clock.sleep(RESTART_DELAY_MS);
  }
}

class ServedMachine implements AsyncDisposable {
  readonly #record: InstantRecord;
  readonly #child: ChildProcess;
  #libvirt: OpenedVmHost | undefined;

  private constructor(record: InstantRecord, child: ChildProcess) {
    this.#record = record;
    this.#child = child;
  }

  /** A child that does not begin to serve is ended, and another one is tried. */
  static async start(record: InstantRecord): Promise<ServedMachine> {
    // The child dies with us, or the machine would go on with nobody to watch over it.
    const [program, ...words] = cofferCommand('instant', 'serve', record.uuid);
    const args = ['--pdeathsig', 'KILL', program!, ...words, '--repo', record.repository];
    const child = spawn('setpriv', args, { stdio: ['ignore', 'inherit', 'inherit'] });
    child.once('error', (error) => process.stderr.write(`coffer: ${error.message}\n`));
    return new ServedMachine(record, child);
  }

  /** Resolves when the child has ended, or is needed no more. */
  async ends(isDone: () => boolean): Promise<void> {
    const giveUpAt = clock.now() + START_TIMEOUT_MS;
    let isServing = false;
    while (this.#isAlive() && !isDone() && !interruptSignal.aborted) {
      isServing ||= await isServed(socketPathOf(this.#record));
      if (isServing) await this.#letGoOn();
      else if (clock.now() > giveUpAt) return;
      await clock.sleep(isServing ? POLL_MS : RESTART_DELAY_MS);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#hangUp();
    if (!this.#isAlive()) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), START_TIMEOUT_MS);
    await ended;
    clearTimeout(timer);
    rmSync(socketPathOf(this.#record), { force: true });
  }

  #isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Libvirt may be restarted meanwhile; then it is asked again later. */
  async #letGoOn(): Promise<void> {
    const { connect, uuid } = this.#record;
    try {
      this.#libvirt ??= await openVmHost(connect, new Map());
      await this.#libvirt.host.resumeAfterError(uuid);
    } catch (error) {
      if (!isCofferError(error)) throw error;
      await this.#hangUp();
    }
  }

  async #hangUp(): Promise<void> {
    const libvirt = this.#libvirt;
    this.#libvirt = undefined;
    await libvirt?.[Symbol.asyncDispose]();
  }
}
