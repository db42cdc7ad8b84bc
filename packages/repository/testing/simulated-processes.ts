/**
 * Processes of the simulation. Machines that are cloned share a name, containers of one machine count
 * their processes for themselves, all from one: only who shares both the run of the kernel and the
 * PID namespace of a process can know that it has ended.
 */
import type { ProcessIdentity, Processes } from '@coffer/base';
import { sharesProcessNumbers } from '@coffer/base';

/** One name for all of them: it must not matter. */
const HOST = 'backup';

export interface SimulatedProcess {
  readonly processes: Processes;
  /** It runs no more. */
  end(): void;
}

export class SimulatedProcesses {
  readonly #running = new Set<string>();
  #started = 0;

  /** Hosts 0 and 1 are containers of one machine; every other one is a machine. */
  start(host: number): SimulatedProcess {
    const own: ProcessIdentity = {
      bootId: `boot-${Math.max(0, host - 1)}`,
      pidNamespace: host === 1 ? 'pid:[2]' : 'pid:[1]',
      // Numbers are used again, also those of processes that run in another namespace.
      processId: 1 + (this.#started % 5),
      startedAtTicks: this.#started++,
    };
    const key = keyOf(own);
    this.#running.add(key);
    const hasEnded = (other: ProcessIdentity): boolean =>
      sharesProcessNumbers(own, other) && !this.#running.has(keyOf(other));
    const end = (): void => void this.#running.delete(key);
    return { processes: { host: HOST, own, hasEnded }, end };
  }
}

function keyOf(process: ProcessIdentity): string {
  return JSON.stringify(process);
}
