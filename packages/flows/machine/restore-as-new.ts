/** Restore of a virtual machine as a new one: its images and files, then its definition. */
import {
  type Finding,
  newUuid,
  type RunContext,
  tellFinding,
  tellPhase,
  tellTotal,
} from '@coffer/base';
import type { RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import type { VmHost } from '@coffer/workloads/vm-host.ts';
import type { Afterwards } from '../request.ts';
import { goOnAfterwards, refuseGoingOn } from './afterwards.ts';
import { MadeFolder } from './made-folder.ts';
import {
  fileMisfits,
  placesOf,
  planFiles,
  refuseMisfits,
  removeFiles,
  restoreFiles,
} from './machine-files.ts';
import { folderOf, type MachinePlace, refreshPlace } from './machine-place.ts';
import { dataBytesOf, vmOf } from './machine-point.ts';

export interface AsNewOptions {
  readonly repository: UnlockedRepository;
  readonly point: RecoveryPoint;
  readonly host: VmHost;
  /** Of the new machine; its files get names that begin with it. */
  readonly name: string;
  /** It stays the same machine, with its UUID and its MACs. */
  readonly keepsIdentity: boolean;
  readonly place: MachinePlace;
  readonly afterwards: Afterwards;
}

export interface VmRestoreResult {
  readonly point: string;
  readonly name: string;
  readonly uuid: string;
  readonly bytesWritten: number;
  readonly bytesKept: number;
  readonly durationMs: number;
  readonly findings: readonly Finding[];
}

/** Fails with `kind-mismatch`, `vm-name-taken`, `target-unfit`. No file is left then. */
export async function restoreAsNew(run: RunContext, given: AsNewOptions): Promise<VmRestoreResult> {
  const options = { ...given, repository: given.repository.during(run) };
  const { host, place } = options;
  refuseGoingOn(options, options);
  const startedAt = run.clock.now();
  const restored = await restoreInto(run, options, await folderOf(host, place));
  await refreshPlace(host, place);
  await goOnAfterwards(run, options, restored);
  return { ...restored, durationMs: run.clock.now() - startedAt };
}

async function restoreInto(
  run: RunContext,
  { repository, point, host, name, keepsIdentity }: AsNewOptions,
  folder: string,
): Promise<Omit<VmRestoreResult, 'durationMs'>> {
  const vm = vmOf(repository, point);
  const uuid = keepsIdentity ? undefined : newUuid(run.random);
  const planned = planFiles(vm, { name, uuid, folder, format: 'qcow2' });
  const files = new Set(planned.files.map(({ root }) => root));
  const roots = point.roots.filter((root) => files.has(root.name));
  const bytesNeeded = await dataBytesOf(repository, roots);
  refuseMisfits(await host.misfits({ xml: vm.xml, name, uuid }), [
    ...fileMisfits(planned.files, { folder, bytesNeeded }),
    ...(await host.folderProblems(folder)),
  ]);
  using made = new MadeFolder(folder);
  tellPhase(run, 'restore-disks');
  tellTotal(run, { bytes: roots.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) });
  const bytesWritten = await restoreFiles(run, { repository, point }, planned.files);
  try {
    tellPhase(run, 'define-machine', name);
    const defined = await host.define({ xml: vm.xml, name, uuid, ...placesOf(planned.files) });
    made.keep();
    run.tell({ kind: 'milestone', at: 'machine-defined', id: defined.uuid });
    const findings = [...planned.findings, ...defined.findings];
    for (const finding of findings) tellFinding(run, finding);
    return { point: point.id, name, uuid: defined.uuid, bytesWritten, bytesKept: 0, findings };
  } catch (error) {
    removeFiles(planned.files);
    throw error;
  }
}
