/**
 * Finds out that the other side is gone although the connection stands, as after a power loss: who says
 * nothing for long although it is asked is dead. (Libvirt's keepalive protocol.)
 */
import type { Clock } from '@coffer/base';
import { MESSAGE_TYPE, type MessageHeader } from './message-codec.ts';

/** With these, a dead server is noticed after about a minute. */
const PING_INTERVAL_MS = 10_000;
const UNANSWERED_COUNT_MAX = 6;

export const KEEPALIVE_PROGRAM = { id: 0x6b656570, version: 1 } as const;
export const PING = 1;
const PONG = 2;

export const PING_HEADER = header(PING);
export const PONG_HEADER = header(PONG);

export interface KeepaliveParts {
  readonly ping: () => void;
  readonly onSilence: () => void;
  readonly intervalMs?: number;
  readonly clock: Clock;
}

export class Keepalive {
  readonly #parts: KeepaliveParts;
  readonly #stopped = new AbortController();
  #unansweredCount = 0;

  constructor(parts: KeepaliveParts) {
    this.#parts = parts;
    void this.#run();
  }

  /** Something came: the other side lives. */
  heard(): void {
    this.#unansweredCount = 0;
  }

  stop(): void {
    this.#stopped.abort();
  }

  async #run(): Promise<void> {
    const { clock, intervalMs = PING_INTERVAL_MS, ping, onSilence } = this.#parts;
    try {
      for (;;) {
        await clock.sleep(intervalMs, this.#stopped.signal);
        if (this.#unansweredCount >= UNANSWERED_COUNT_MAX) break;
        this.#unansweredCount++;
        ping();
      }
      onSilence();
    } catch (error) {
      if (!this.#stopped.signal.aborted) throw error;
    }
  }
}

function header(procedure: number): MessageHeader {
  const { id: program, version } = KEEPALIVE_PROGRAM;
  return { program, version, procedure, type: MESSAGE_TYPE.event, serial: 0, status: 0 };
}
