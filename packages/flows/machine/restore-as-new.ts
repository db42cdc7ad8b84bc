/** Restore of a virtual machine as a new one: its images and files, then its definition. */
import { type Finding, type RunContext, tellFinding, tellPhase, tellTotal } from '@coffer/base';
import type { RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import type { DiskImage, VmHost } from '@coffer/workloads/vm-host.ts';
import { MadeFolder } from './made-folder.ts';
import {
  fileMisfits,
  placesOf,
  planFiles,
  refuseMisfits,
  removeFiles,
  restoreFiles,
} from './machine-files.ts';
import { dataBytesOf, vmOf } from './machine-point.ts';

export interface VmCopyOptions {
  readonly repository: UnlockedRepository;
  readonly point: RecoveryPoint;
  readonly host: VmHost;
  /** Of the new machine; its files get names that begin with it. */
  readonly name: string;
  /** Of the new machine; undefined to keep that of the original, with its MACs. */
  readonly uuid: string | undefined;
  /** Absolute path of the folder that gets the files. */
  readonly folder: string;
  readonly format: DiskImage['format'];
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
export async function restoreVmCopy(
  run: RunContext,
  given: VmCopyOptions,
): Promise<VmRestoreResult> {
  const options = { ...given, repository: given.repository.during(run) };
  const { repository, point, host, name, uuid, folder } = options;
  const startedAt = run.clock.now();
  const vm = vmOf(repository, point);
  const planned = planFiles(vm, options);
  const roots = point.roots.filter(({ name: root }) =>
    planned.files.some((file) => file.root === root),
  );
  const bytesNeeded = await dataBytesOf(repository, roots);
  refuseMisfits(await host.misfits({ xml: vm.xml, name, uuid }), [
    ...fileMisfits(planned.files, { folder, bytesNeeded }),
    ...(await host.folderProblems(folder)),
  ]);
  using made = new MadeFolder(folder);
  tellPhase(run, 'restore-disks');
  tellTotal(run, { bytes: roots.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) });
  const bytesWritten = await restoreFiles(run, options, planned.files);
  try {
    tellPhase(run, 'define-machine', name);
    const defined = await host.define({ xml: vm.xml, name, uuid, ...placesOf(planned.files) });
    const findings = [...planned.findings, ...defined.findings];
    for (const finding of findings) tellFinding(run, finding);
    run.tell({ kind: 'milestone', at: 'machine-defined', id: defined.uuid });
    const durationMs = run.clock.now() - startedAt;
    const { id } = point;
    made.keep();
    return {
      point: id,
      name,
      uuid: defined.uuid,
      bytesWritten,
      bytesKept: 0,
      durationMs,
      findings,
    };
  } catch (error) {
    removeFiles(planned.files);
    throw error;
  }
}
