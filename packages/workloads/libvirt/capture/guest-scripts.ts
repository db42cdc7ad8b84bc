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
/** For each; an application that needs longer is not at rest soon enough to wait for. */
const SCRIPT_SECONDS_MAX = 30;
/** For all of them. */
const TIMEOUT_MS = 120_000;
/** What a shell says of a process that was killed. */
const KILLED = 137;

/**
 * `freeze` ends with the first script that fails; `thaw` calls all, also those that did not run. Each
 * has a session of its own, so that it ends with all that it has started.
 */
const RUN = `PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
cd '${SCRIPTS_FOLDER}' 2>/dev/null || exit 0
order=; [ "$1" = thaw ] && order=-r
for each in $(ls | sort $order); do
  [ -f "./$each" ] && [ -x "./$each" ] || continue
  echo "$each"
  setsid "./$each" "$1" >/dev/null 2>&1 </dev/null &
  script=$!
  (sleep ${SCRIPT_SECONDS_MAX}; kill -9 -$script) >/dev/null 2>&1 </dev/null &
  timer=$!
  wait $script
  code=$?
  kill $timer
  [ $code = 0 ] || [ "$1" = thaw ] || exit $code
done
exit 0`;

/** Present only where there are scripts. */
const LIST = `for each in '${SCRIPTS_FOLDER}'/*; do
  [ -f "$each" ] && [ -x "$each" ] && echo "\${each##*/}"
done; exit 0`;

export type ScriptsOutcome =
  /** There are none. */
  { readonly kind: 'none' | 'at-rest' } | { readonly kind: 'failed'; readonly reason: string };

/** Brings applications to rest. When that fails, those that came to rest have to be let go, too. */
export async function freezeApplications(agent: GuestAgent): Promise<ScriptsOutcome> {
  let outcome: GuestOutcome | undefined;
  try {
    outcome = await runScripts(agent, 'freeze');
  } catch (error) {
    if (!isCofferError(error)) throw error;
    return { kind: 'failed', reason: error.message };
  }
  if (!outcome) return { kind: 'failed', reason: 'the scripts in the guest do not end' };
  const last = linesOf(outcome.output).at(-1);
  if (outcome.exitCode === 0) return { kind: last === undefined ? 'none' : 'at-rest' };
  return { kind: 'failed', reason: `script ${last ?? ''} in the guest ${howEnded(outcome)}` };
}

function howEnded({ exitCode }: GuestOutcome): string {
  if (exitCode === KILLED) return `took over ${SCRIPT_SECONDS_MAX} s`;
  return exitCode === undefined ? 'was ended' : `ended with ${exitCode}`;
}

export async function thawApplications(agent: GuestAgent): Promise<void> {
  await runScripts(agent, 'thaw');
}

/** Names of the scripts that the guest has. */
export async function findScripts(agent: GuestAgent): Promise<string[]> {
  const outcome = await agent.run(['/bin/sh', '-c', LIST], TIMEOUT_MS);
  return linesOf(outcome?.output ?? '');
}

/** Undefined when they took too long; then they were ended. */
async function runScripts(
  agent: GuestAgent,
  verb: 'freeze' | 'thaw',
): Promise<GuestOutcome | undefined> {
  return await agent.run(['/bin/sh', '-c', RUN, 'coffer', verb], TIMEOUT_MS);
}

function linesOf(output: string): string[] {
  return output.split('\n').filter((line) => line !== '');
}
