/**
 * The process that keeps a machine running on its point: it has the disks served by a child, starts
 * another one when that dies, and lets the machine, which pauses meanwhile, go on. It ends when the
 * machine needs the point no more, or is gone; what is left of it then goes with `instant discard`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { isCofferError, systemClock as clock } from '@coffer/base';
import type { InstantPlace } from '@coffer/flows/machine/disk-serving.ts';
import { type InstantRecord, socketPathOf } from '@coffer/flows/machine/instant-record.ts';
import { isServed } from '@coffer/flows/machine/served.ts';
import type { VmHost } from '@coffer/workloads/vm-host.ts';
import { interruptSignal } from '../run.ts';
import { cofferCommand, giveSecret } from './command.ts';
import { becomeKeeper } from './keeper-lock.ts';
import { MachineWatch } from './machine-watch.ts';
import { instantRecords, runFolderOf } from './records.ts';

const POLL_MS = 500;
const RESTART_DELAY_MS = 200;
/** Where it cannot serve, such as without its repository. */
const RESTART_DELAY_MAX_MS = 15_000;
const START_TIMEOUT_MS = 60_000;
/** A machine that starts needs the processors, and has had no reason to pause yet. */
const SETTLE_MS = 10_000;

export interface KeepOptions {
  /** The process of the restore, which may have been killed before this one looks. */
  readonly startedBy: number;
  /** Of the repository. */
  readonly passphrase: string;
}

export async function keepServing(
  place: InstantPlace,
  { startedBy, passphrase }: KeepOptions,
): Promise<void> {
  if (!becomeKeeper(runFolderOf(place))) return;
  const watched = new WatchedRecord(place.uuid, startedBy);
  let settledAt = clock.now() + SETTLE_MS;
  let delayMs = RESTART_DELAY_MS;
  while (!watched.isGone && !interruptSignal.aborted) {
    await using server = ServedMachine.start(place, passphrase);
    const hasServed = await server.ends(watched, settledAt);
    settledAt = 0;
    delayMs = hasServed ? RESTART_DELAY_MS : Math.min(2 * delayMs, RESTART_DELAY_MAX_MS);
    await untilGone(watched, delayMs);
  }
  // Of others, who ends the machine removes it.
  if (!watched.wasThere) rmSync(runFolderOf(place), { recursive: true, force: true });
}

async function untilGone(watched: WatchedRecord, timeoutMs: number): Promise<void> {
  for (const end = clock.now() + timeoutMs; clock.now() < end;) {
    if (watched.isGone || interruptSignal.aborted) return;
    await clock.sleep(RESTART_DELAY_MS);
  }
}

/** The record of the machine, which the restore writes a moment after it has started this process. */
class WatchedRecord {
  readonly #uuid: string;
  readonly #startedBy: number;
  readonly #machine = new MachineWatch();
  #isMachineGone = false;
  wasThere = false;

  constructor(uuid: string, startedBy: number) {
    this.#uuid = uuid;
    this.#startedBy = startedBy;
  }

  get current(): InstantRecord | undefined {
    const record = instantRecords().read(this.#uuid);
    this.wasThere ||= record !== undefined;
    return record;
  }

  /** Whether libvirt knows the machine. */
  sawMachine(isThere: boolean): void {
    const seen = { isThere, isAwaited: !this.#isAlone };
    this.#isMachineGone = this.#machine.isGone(seen, clock.now());
  }

  /**
   * The machine is gone, or needs the point no more, or the restore was killed before it had written a
   * record.
   */
  get isGone(): boolean {
    // Asked first: the restore writes the record before it ends.
    const isAlone = this.#isAlone;
    return this.#isMachineGone || (this.current === undefined && (this.wasThere || isAlone));
  }

  /** Whoever has started this process has ended. */
  get #isAlone(): boolean {
    return process.ppid !== this.#startedBy;
  }
}

type OpenedVmHost = VmHost & AsyncDisposable;

class ServedMachine implements AsyncDisposable {
  readonly #socketPath: string;
  readonly #child: ChildProcess;
  #libvirt: OpenedVmHost | undefined;

  private constructor(socketPath: string, child: ChildProcess) {
    this.#socketPath = socketPath;
    this.#child = child;
  }

  /** A child that does not begin to serve is ended, and another one is tried. */
  static start(place: InstantPlace, passphrase: string): ServedMachine {
    // The child dies with us, or the machine would go on with nobody to watch over it.
    const [program, ...words] = cofferCommand('instant', 'serve', place.uuid);
    const args = ['--pdeathsig', 'KILL', program!, ...words, '--repo', place.repository];
    const child = spawn('setpriv', args, { stdio: ['pipe', 'inherit', 'inherit'] });
    giveSecret(child, passphrase);
    child.once('error', (error) => process.stderr.write(`coffer: ${error.message}\n`));
    return new ServedMachine(socketPathOf({ runFolder: runFolderOf(place) }), child);
  }

  /** Resolves when the child has ended, or is needed no more; false when it did not serve. */
  async ends(watched: WatchedRecord, settledAt: number): Promise<boolean> {
    const giveUpAt = clock.now() + START_TIMEOUT_MS;
    let isServing = false;
    while (this.#isAlive() && !watched.isGone && !interruptSignal.aborted) {
      isServing ||= await isServed(this.#socketPath);
      const record = watched.current;
      if (!isServing && clock.now() > giveUpAt) return false;
      if (isServing && record && clock.now() > settledAt) await this.#letGoOn(record, watched);
      await clock.sleep(isServing ? POLL_MS : RESTART_DELAY_MS);
    }
    return isServing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#hangUp();
    if (!this.#isAlive()) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), START_TIMEOUT_MS);
    await ended;
    clearTimeout(timer);
    rmSync(this.#socketPath, { force: true });
  }

  #isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Libvirt may be restarted meanwhile; then it is asked again later. */
  async #letGoOn({ connect, uuid }: InstantRecord, watched: WatchedRecord): Promise<void> {
    try {
      this.#libvirt ??= await openHost(connect);
      const state = await this.#libvirt.resumeAfterError(uuid);
      watched.sawMachine(state !== undefined);
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

/** Its code is loaded when it is needed: this process has to start quickly. */
async function openHost(connect: string): Promise<OpenedVmHost> {
  const { openVmHost } = await import('../libvirt/compose.ts');
  return await openVmHost(connect);
}
