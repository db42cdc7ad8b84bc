/**
 * Who a process is, so that another one can tell later whether it still runs. A name of a host and
 * a process number do not say that: machines are cloned with their names, containers count their
 * processes for themselves, and numbers are used again.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { systemErrorCode } from './errors.ts';

export interface ProcessIdentity {
  /** The run of the kernel, new with each start of the machine. */
  readonly bootId: string;
  /** The PID namespace, in which the process number counts. */
  readonly pidNamespace: string;
  readonly processId: number;
  /** When the process started, in clock ticks since the kernel did. */
  readonly startedAtTicks: number;
}

/** What a process knows of itself and of others. A parameter, like time. */
export interface Processes {
  /** Name of the host, for people. */
  readonly host: string;
  /** Undefined where the system does not tell. */
  readonly own: ProcessIdentity | undefined;
  /** True only when it is certain that the process runs no more. */
  hasEnded(process: ProcessIdentity): boolean;
}

/** As Linux tells it, in /proc (proc(5)). */
export const systemProcesses: Processes = {
  host: hostname(),
  own: ownIdentity(),
  hasEnded: (other) => hasEnded(other, systemProcesses.own),
};

/** Equal only in one PID namespace of one run of a kernel: there, numbers mean the same. */
export function sharesProcessNumbers(a: ProcessIdentity, b: ProcessIdentity): boolean {
  return a.bootId === b.bootId && a.pidNamespace === b.pidNamespace;
}

function ownIdentity(): ProcessIdentity | undefined {
  try {
    return {
      bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
      pidNamespace: readlinkSync('/proc/self/ns/pid'),
      processId: process.pid,
      startedAtTicks: startOf('self'),
    };
  } catch {
    return undefined;
  }
}

function hasEnded(other: ProcessIdentity, own: ProcessIdentity | undefined): boolean {
  if (!own || !sharesProcessNumbers(other, own)) return false;
  if (!isNumberInUse(other.processId)) return true;
  try {
    // Without a mount of its own, /proc counts as another namespace does.
    if (readlinkSync('/proc/self') !== String(own.processId)) return false;
    return startOf(String(other.processId)) !== other.startedAtTicks;
  } catch {
    // It has just ended, or is hidden from us (hidepid in proc(5)).
    return false;
  }
}

function isNumberInUse(processId: number): boolean {
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    // Another user's process runs all the same.
    return systemErrorCode(error) !== 'ESRCH';
  }
}

function startOf(entry: string): number {
  const stat = readFileSync(`/proc/${entry}/stat`, 'utf8');
  // Behind the name in parentheses come the state and 18 more fields before the start.
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
}
