/** What a restored machine does next. */
import { dirname } from 'node:path';
import { CofferError, type RunContext, tellPhase } from '@coffer/base';
import type { RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import type { VmHost } from '@coffer/workloads/vm-host.ts';
import type { Afterwards } from '../request.ts';
import { vmOf } from './machine-point.ts';
import { goOnWithMemory, memoryOf } from './memory.ts';

/** Holds the memory of a machine without disks. */
const MEMORY_FOLDER = '/var/tmp';

interface Restored {
  readonly repository: UnlockedRepository;
  readonly point: RecoveryPoint;
  readonly host: VmHost;
  readonly afterwards: Afterwards;
}

/**
 * The memory knows who the machine is: it goes on under its name and identity only. Asked before
 * anything is done. Fails with `memory-missing` and `usage`.
 */
export function refuseGoingOn(
  { repository, point, afterwards }: Omit<Restored, 'host'>,
  { name, keepsIdentity }: { readonly name: string; readonly keepsIdentity: boolean },
): void {
  if (afterwards !== 'go-on') return;
  memoryOf({ repository, point });
  const original = vmOf(repository, point);
  if (name === original.name && keepsIdentity) return;
  const reason = 'a machine that goes on is the same one, with its name and its identity';
  throw new CofferError('usage', { vm: original.name, name, reason });
}

export async function goOnAfterwards(
  run: RunContext,
  restored: Restored,
  { uuid, name }: { readonly uuid: string; readonly name: string },
): Promise<void> {
  const { host, afterwards } = restored;
  if (afterwards === 'leave-off') return;
  if (afterwards === 'start') {
    tellPhase(run, 'start-guest', name);
    await host.start(uuid);
    return;
  }
  // Beside its first disk there is space, and QEMU may enter.
  const [disk] = [...((await host.find(uuid))?.disks.values() ?? [])];
  const folder = disk ? dirname(disk.path) : MEMORY_FOLDER;
  await goOnWithMemory(run, { ...restored, uuid, folder });
}
