/**
 * Scripts in the guest that bring its applications to rest before its file systems are frozen, and let
 * them go on afterwards: the executable files of one folder, called with `freeze` in the order of
 * their names, and with `thaw` in the other order.
 *
 * They are run one by one, since only the exit code of each tells that the applications are at rest:
 * the hook that Debian's agent comes with succeeds whatever its scripts say.
 */
import { isCofferError } from '@coffer/base';
import type { GuestAgent, GuestOutcome } from '../agent/guest-agent.ts';

export const SCRIPTS_FOLDER = '/etc/coffer/freeze.d';
/** For all of them; an application that needs longer is not at rest soon enough to wait for. */
const TIMEOUT_SECONDS = 30;
/** The guest ends them by itself; this is for a guest that does not. */
const MARGIN_MS = 15_000;

/** `freeze` ends with the first script that fails; `thaw` calls all, also those that did not run. */
const RUN = `PATH=$PATH:/usr/sbin:/sbin:/usr/bin:/bin
cd '${SCRIPTS_FOLDER}' 2>/dev/null || exit 0
order=; [ "$1" = thaw ] && order=-r
for each in $(ls | sort $order); do
  [ -f "./$each" ] && [ -x "./$each" ] || continue
  echo "$each"
  "./$each" "$1" >/dev/null 2>&1 && continue
  code=$?
  [ "$1" = thaw ] || exit $code
done
exit 0`;

/** Present only where there are scripts. */
const LIST = `for each in '${SCRIPTS_FOLDER}'/*; do
  [ -f "$each" ] && [ -x "$each" ] && echo "\${each##*/}"
done; exit 0`;

export type ScriptsOutcome =
  /** There are none. */
  | { readonly kind: 'none' }
  | { readonly kind: 'at-rest'; readonly count: number }
  | { readonly kind: 'failed'; readonly reason: string };

/** Brings applications to rest. When that fails, those that came to rest have to be let go, too. */
export async function freezeApplications(agent: GuestAgent): Promise<ScriptsOutcome> {
  let outcome: GuestOutcome | undefined;
  try {
    outcome = await runScripts(agent, 'freeze');
  } catch (error) {
    if (!isCofferError(error)) throw error;
    return { kind: 'failed', reason: error.message };
  }
  if (!outcome) {
    return { kind: 'failed', reason: `scripts in the guest took over ${TIMEOUT_SECONDS} s` };
  }
  const names = linesOf(outcome.output);
  const last = names.at(-1);
  if (outcome.exitCode === 0) {
    return last === undefined ? { kind: 'none' } : { kind: 'at-rest', count: names.length };
  }
  const how = outcome.exitCode === undefined ? 'was ended' : `ended with ${outcome.exitCode}`;
  return { kind: 'failed', reason: `script ${last ?? ''} in the guest ${how}` };
}

export async function thawApplications(agent: GuestAgent): Promise<void> {
  await runScripts(agent, 'thaw');
}

/** Names of the scripts that the guest has. */
export async function findScripts(agent: GuestAgent): Promise<string[]> {
  const outcome = await agent.run(['/bin/sh', '-c', LIST], MARGIN_MS);
  return linesOf(outcome?.output ?? '');
}

/** Undefined when they took too long; then they were ended. */
async function runScripts(
  agent: GuestAgent,
  verb: 'freeze' | 'thaw',
): Promise<GuestOutcome | undefined> {
  // `timeout` is of coreutils and of busybox, and so in every guest with a shell.
  const command = `exec timeout ${TIMEOUT_SECONDS} /bin/sh -c "$0" coffer ${verb}`;
  const outcome = await agent.run(
    ['/bin/sh', '-c', command, RUN],
    TIMEOUT_SECONDS * 1000 + MARGIN_MS,
  );
  return outcome && isTimeout(outcome.exitCode) ? undefined : outcome;
}

/** 124 of coreutils; 143 of busybox, whose child is ended by a signal. */
function isTimeout(exitCode: number | undefined): boolean {
  return exitCode === 124 || exitCode === 143;
}

function linesOf(output: string): string[] {
  return output.split('\n').filter((line) => line !== '');
}
