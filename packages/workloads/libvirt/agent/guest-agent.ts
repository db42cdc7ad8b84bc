/**
 * The agent in a guest (qemu-guest-agent, QGA protocol): what it can do, and commands that it runs
 * there. All answers come from the guest and are checked. Fails with `agent-unavailable`.
 */
import { type Clock, CofferError } from '@coffer/base';
import * as v from 'valibot';
import type { Domain, LibvirtConnection } from '../connection.ts';

/** Libvirt waits for ever without it. */
const TIMEOUT_SECONDS = 5;
const POLL_FIRST_MS = 10;
const POLL_MAX_MS = 200;
const OUTPUT_CHARACTERS_MAX = 1024 * 1024;

const Info = v.object({
  version: v.pipe(v.string(), v.maxLength(100)),
  supported_commands: v.array(v.object({ name: v.string(), enabled: v.boolean() })),
});
const System = v.object({ id: v.optional(v.string(), 'unknown') });
const Started = v.object({ pid: v.number() });
const Status = v.object({
  exited: v.boolean(),
  exitcode: v.optional(v.number()),
  signal: v.optional(v.number()),
  'out-data': v.optional(v.pipe(v.string(), v.maxLength(OUTPUT_CHARACTERS_MAX)), ''),
});
const FreezeStatus = v.picklist(['thawed', 'frozen']);

export interface AgentInfo {
  readonly version: string;
  /** What it may be asked for. Hosts and distributions switch off what they do not trust. */
  readonly commands: ReadonlySet<string>;
  readonly isWindows: boolean;
}

export interface GuestOutcome {
  /** Undefined when a signal ended the command. */
  readonly exitCode: number | undefined;
  readonly output: string;
}

export class GuestAgent {
  readonly #connection: LibvirtConnection;
  readonly #domain: Domain;
  readonly #clock: Clock;

  constructor(connection: LibvirtConnection, domain: Domain, clock: Clock) {
    this.#connection = connection;
    this.#domain = domain;
    this.#clock = clock;
  }

  async ping(): Promise<void> {
    await this.#ask('guest-ping', v.unknown());
  }

  async info(): Promise<AgentInfo> {
    const { version, supported_commands: known } = await this.#ask('guest-info', Info);
    const enabled = known.filter((command) => command.enabled).map(({ name }) => name);
    const commands = new Set(enabled);
    const system = commands.has('guest-get-osinfo')
      ? await this.#ask('guest-get-osinfo', System)
      : { id: 'unknown' };
    return { version, commands, isWindows: system.id === 'mswindows' };
  }

  async freezeStatus(): Promise<'thawed' | 'frozen'> {
    return await this.#ask('guest-fsfreeze-status', FreezeStatus);
  }

  /** Starts a command whose end nobody waits for; returns its process id in the guest. */
  async start(command: readonly string[]): Promise<number> {
    return await this.#start(command, false);
  }

  /**
   * Runs a command to its end, and returns what it printed. Undefined when it takes longer; it is
   * asked to end then.
   */
  async run(
    command: readonly string[],
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<GuestOutcome | undefined> {
    const pid = await this.#start(command, true);
    const giveUpAt = this.#clock.now() + timeoutMs;
    for (let delayMs = POLL_FIRST_MS; ; delayMs = Math.min(2 * delayMs, POLL_MAX_MS)) {
      const status = await this.#ask('guest-exec-status', Status, { pid });
      if (status.exited) {
        const output = Buffer.from(status['out-data'], 'base64').toString();
        return { exitCode: status.exitcode, output };
      }
      if (this.#clock.now() > giveUpAt) break;
      await this.#clock.sleep(delayMs, signal);
    }
    await this.end(pid);
    return undefined;
  }

  async end(pid: number): Promise<void> {
    await this.start(['/bin/sh', '-c', `kill ${pid}`]);
  }

  async #start(command: readonly string[], capturesOutput: boolean): Promise<number> {
    const [path, ...arg] = command;
    const execution = { path, arg, 'capture-output': capturesOutput };
    return (await this.#ask('guest-exec', Started, execution)).pid;
  }

  async #ask<S extends v.GenericSchema>(
    execute: string,
    schema: S,
    args?: unknown,
  ): Promise<v.InferOutput<S>> {
    const question = JSON.stringify({ execute, arguments: args });
    const answer = await this.#connection.agentCommand(this.#domain, question, TIMEOUT_SECONDS);
    const parsed = v.safeParse(v.object({ return: schema }), parseAnswer(answer));
    if (parsed.success) return (parsed.output as { return: v.InferOutput<S> }).return;
    const reason = `${execute}: ${parsed.issues[0].message}`;
    throw new CofferError('agent-unavailable', { vm: this.#domain.name, reason });
  }
}

function parseAnswer(answer: string): unknown {
  try {
    return JSON.parse(answer);
  } catch (error) {
    throw new CofferError('agent-unavailable', { reason: 'its answer is no JSON' }, error);
  }
}
