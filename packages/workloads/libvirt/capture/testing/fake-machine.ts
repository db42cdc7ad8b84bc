/** A machine as libvirt tells of it, for faults that a real one cannot be made to show. */
import { type Clock, CofferError } from '@coffer/base';
import type { Domain, LibvirtConnection } from '../../connection.ts';
import { LIBVIRT_CODE } from '../../errors.ts';

export const PAUSED_BY_USER = 1;
const RUNNING = 1;
const BACKUP = 9;

export class FakeMachine {
  readonly domain: Domain = { name: 'web', uuid: '12345678-2222-4333-8444-555555555555', id: 7 };
  state: 'running' | 'paused' | 'shutoff' = 'running';
  reason = RUNNING;
  /** The job that runs: a backup has a socket. */
  job: { readonly socket: string | undefined } | undefined;
  answers = true;
  /** A freeze fails, and so does every thaw. */
  staysFrozen = false;
  /** What was done to it, and asked of its guest. */
  readonly calls: string[] = [];
  readonly lost = new AbortController();

  pause(reason: number): void {
    this.state = 'paused';
    this.reason = reason;
  }

  get connection(): LibvirtConnection {
    // The methods that captures use; the class has more, and private ones.
    return this.#methods() as unknown as LibvirtConnection;
  }

  #methods(): Partial<LibvirtConnection> {
    const { domain } = this;
    return {
      ended: this.lost.signal,
      on: async () => () => {},
      domainByUuid: async () => domain,
      state: async () => ({ state: this.state, reason: this.reason }),
      jobStats: async () => ({
        type: this.job ? 'unbounded' : 'none',
        values: new Map([['operation', BACKUP]]),
      }),
      backupXml: async () => {
        const socket = this.job?.socket;
        if (socket !== undefined) {
          return `<domainbackup mode='pull'><server transport='unix' socket='${socket}'/></domainbackup>`;
        }
        throw new CofferError('libvirt-failed', { libvirtCode: LIBVIRT_CODE.operationInvalid });
      },
      abortJob: async () => this.#did('abort', () => (this.job = undefined)),
      resume: async () =>
        this.#did('resume', () => {
          this.state = 'running';
          this.reason = RUNNING;
        }),
      destroy: async () => this.#did('destroy', () => (this.state = 'shutoff')),
      agentResponseTimeout: async () => {},
      freeze: async () => this.#asked('freeze', () => this.#unlessFrozen()),
      thaw: async () => this.#asked('thaw', () => this.#unlessFrozen()),
      agentCommand: async (_domain, json) => this.#asked(undefined, () => this.#answerTo(json)),
    };
  }

  #unlessFrozen(): number {
    if (this.staysFrozen) throw new CofferError('agent-unavailable');
    return 1;
  }

  #did(call: string, change: () => unknown): void {
    this.calls.push(call);
    change();
  }

  #asked<T>(call: string | undefined, answer: () => T): T {
    if (!this.answers || this.state !== 'running') throw new CofferError('agent-unavailable');
    if (call !== undefined) this.calls.push(call);
    return answer();
  }

  #answerTo(json: string): string {
    const { execute, arguments: args } = JSON.parse(json) as {
      execute: string;
      arguments?: { arg?: string[] };
    };
    const answers: Record<string, unknown> = {
      'guest-info': { version: '7', supported_commands: [{ name: 'guest-exec', enabled: true }] },
      'guest-fsfreeze-status': this.staysFrozen ? 'frozen' : 'thawed',
      'guest-exec': { pid: 1 },
      'guest-exec-status': { exited: true, exitcode: 0, 'out-data': btoa('10-database\n') },
    };
    const verb = args?.arg?.at(3);
    if (execute === 'guest-exec' && verb !== undefined) this.calls.push(`scripts ${verb}`);
    return JSON.stringify({ return: answers[execute] });
  }
}

/** Time that passes as fast as it is waited for. */
export function fastClock(startMs = 0): Clock {
  let nowMs = startMs;
  return {
    now: () => nowMs,
    sleep: async (durationMs, signal) => {
      signal?.throwIfAborted();
      nowMs += durationMs;
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}
