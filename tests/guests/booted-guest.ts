/** A guest that QEMU runs, and its agent. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { systemClock } from '@coffer/base';

const BOOT_TIMEOUT_MS = 1_800_000;
const ANSWER_TIMEOUT_MS = 60_000;
const POLL_MS = 50;

/** Boots a disk, given as QEMU names it (a file, or the URI of an NBD export). Ends with its block. */
export class BootedGuest implements AsyncDisposable {
  /** From the start of QEMU to the first answer of the agent. */
  bootMs = 0;
  readonly #process: ChildProcess;
  readonly #socketPath: string;
  #said = '';

  private constructor(disk: string, folder: string) {
    this.#socketPath = join(folder, 'agent');
    const agent = 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0';
    this.#process = spawn(
      'setpriv',
      [
        ['--pdeathsig', 'KILL', 'qemu-system-x86_64'],
        ['-machine', 'pc,accel=tcg', '-cpu', 'max', '-m', '256', '-nodefaults', '-display', 'none'],
        ['-drive', `file=${disk},format=raw,if=virtio`],
        ['-serial', `file:${join(folder, 'console')}`, '-no-reboot'],
        ['-chardev', `socket,id=agent,path=${this.#socketPath},server=on,wait=off`],
        ['-device', 'virtio-serial', '-device', agent],
      ].flat(),
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    this.#process.stderr?.on('data', (piece: Buffer) => (this.#said += piece.toString()));
  }

  /** Resolves when the agent answers. */
  static async boot(disk: string, folder: string): Promise<BootedGuest> {
    const startedAt = systemClock.now();
    const guest = new BootedGuest(disk, folder);
    try {
      await guest.#answers(startedAt + BOOT_TIMEOUT_MS);
    } catch (error) {
      await guest[Symbol.asyncDispose]();
      throw error;
    }
    guest.bootMs = systemClock.now() - startedAt;
    return guest;
  }

  /** What a command of the shell prints in the guest. */
  async run(command: string): Promise<string> {
    const execution = { path: '/bin/sh', arg: ['-c', command], 'capture-output': true };
    const started = (await this.#call('guest-exec', execution)) as { pid: number };
    for (;;) {
      const status = (await this.#call('guest-exec-status', started)) as {
        exited: boolean;
        'out-data'?: string;
      };
      if (status.exited) return Buffer.from(status['out-data'] ?? '', 'base64').toString();
      await systemClock.sleep(POLL_MS);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill('SIGKILL');
    await ended;
  }

  async #answers(giveUpAt: number): Promise<void> {
    for (;;) {
      if (this.#process.exitCode !== null) throw new Error(`QEMU ended: ${this.#said}`);
      if (systemClock.now() > giveUpAt) throw new Error('the guest does not answer');
      try {
        await this.#call('guest-ping', {}, 500);
        return;
      } catch {
        await systemClock.sleep(POLL_MS);
      }
    }
  }

  async #call(execute: string, args: unknown, timeoutMs = ANSWER_TIMEOUT_MS): Promise<unknown> {
    const socket = connect(this.#socketPath);
    try {
      return await answerOf(socket, { execute, arguments: args }, timeoutMs);
    } finally {
      socket.destroy();
    }
  }
}

/**
 * The agent may still have to answer what an earlier connection asked and did not wait for, so it is
 * told to repeat a number first, and all up to that is not for us (QEMU Guest Agent Protocol,
 * guest-sync).
 */
async function answerOf(socket: Socket, question: unknown, timeoutMs: number): Promise<unknown> {
  const id = randomInt(2 ** 32);
  socket.setTimeout(timeoutMs, () => socket.destroy(new Error('the agent does not answer')));
  const sync = { execute: 'guest-sync', arguments: { id } };
  socket.write(`${JSON.stringify(sync)}\n${JSON.stringify(question)}\n`);
  let said = '';
  for await (const piece of socket) {
    said += String(piece);
    const ours = said.slice(said.indexOf(String(id)));
    const [, line, rest] = ours.split('\n');
    if (rest === undefined) continue;
    const answer = JSON.parse(line!) as { return?: unknown; error?: { desc: string } };
    if (answer.error) throw new Error(answer.error.desc);
    return answer.return;
  }
  throw new Error('the agent does not answer');
}
