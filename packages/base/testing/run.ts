/** A run of a test. */
import { tmpdir } from 'node:os';
import { systemClock } from '../clock.ts';
import { systemRandom } from '../random.ts';
import type { RunContext } from '../run-context.ts';

/** By the clock of the machine, unless told otherwise; nothing ends it, and nobody listens. */
export function testRun(given: Partial<RunContext> = {}): RunContext {
  return {
    clock: systemClock,
    random: systemRandom,
    signal: new AbortController().signal,
    tell: () => {},
    temporaryFolder: tmpdir(),
    ...given,
  };
}
