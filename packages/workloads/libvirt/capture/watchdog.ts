/**
 * A process in the guest that thaws its file systems after a while: should this host die while they
 * are frozen, nobody else would. Linux has no limit of its own, and what writes would hang for ever.
 */
import type { GuestAgent } from '../agent/guest-agent.ts';

/** Longer than a freeze and a checkpoint are waited for; short enough for what hangs meanwhile. */
export const WATCHDOG_SECONDS = 30;

/**
 * Reading is not frozen. Busybox knows the long option of fsfreeze only. Names in /proc/mounts have
 * their spaces as octal numbers, which `%b` understands.
 */
const THAW_LATER = `PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
sleep ${WATCHDOG_SECONDS}
while read -r device folder rest; do
  case $device in /dev/*) fsfreeze --unfreeze "$(printf %b "$folder")" ;; esac
done </proc/mounts`;

export interface Watchdog {
  end(): Promise<void>;
}

export async function startWatchdog(agent: GuestAgent): Promise<Watchdog> {
  const pid = await agent.start(['/bin/sh', '-c', THAW_LATER]);
  return { end: () => agent.end(pid) };
}
