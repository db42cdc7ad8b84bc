// How long writes take in a guest, by a small program that is compiled for it.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { SiteGuest } from '../../tests/guests/site-guest.ts';

const SOURCE = join(import.meta.dirname, 'write-latency.c');
const PROGRAM = '/bin/write-latency';

export interface WriteLatency {
  readonly writes: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** Compiles the program into the root of a guest. */
export function addWriteLatency(root: string): void {
  const words = ['-O2', '-static', '-o', join(root, PROGRAM), SOURCE];
  const { status, stderr } = spawnSync('gcc', words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`write-latency.c needs gcc and libc6-dev: ${stderr}`);
}

/** Overwrites a file of the guest for some time. */
export async function writeLatency(
  guest: SiteGuest,
  path: string,
  seconds: number,
): Promise<WriteLatency> {
  return JSON.parse(await guest.run(`${PROGRAM} ${path} ${seconds}`)) as WriteLatency;
}
