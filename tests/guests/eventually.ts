/** Waiting for what happens by itself, with a limit. */
import { systemClock } from '@coffer/base';

/** Only what never happens takes so long. */
const TIMEOUT_MS = 1_800_000;
const POLL_MS = 20;

/** Resolves when it is so; fails with what was waited for. */
export async function eventually(
  what: string,
  isSo: () => boolean | Promise<boolean>,
  { timeoutMs = TIMEOUT_MS, pollMs = POLL_MS } = {},
): Promise<void> {
  const giveUpAt = systemClock.now() + timeoutMs;
  while (!(await isSo())) {
    if (systemClock.now() > giveUpAt) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await systemClock.sleep(pollMs);
  }
}
