/** Restore of a virtual machine as a new one: its images and files, then its definition. */
import type { Finding } from '@coffer/base';
import type { RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import type { DiskImage, VmHost } from '@coffer/workloads/vm-host.ts';
import type { Progress } from '../progress.ts';
import { MadeFolder } from './made-folder.ts';
import {
  fileMisfits,
  placesOf,
  planFiles,
  refuseMisfits,
  removeFiles,
  restoreFiles,
} from './vm-files.ts';
import { dataBytesOf, vmOf } from './vm-point.ts';

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
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
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
export async function restoreVmCopy(options: VmCopyOptions): Promise<VmRestoreResult> {
  const { repository, point, host, name, uuid, folder, signal } = options;
  const startedAt = repository.clock.now();
  const vm = vmOf(repository, point);
  const planned = planFiles(vm, options);
  const roots = point.roots.filter(({ name: root }) =>
    planned.files.some((file) => file.root === root),
  );
  const bytesNeeded = await dataBytesOf(repository, roots, signal);
  refuseMisfits(await host.misfits({ xml: vm.xml, name, uuid }), [
    ...fileMisfits(planned.files, { folder, bytesNeeded }),
    ...(await host.folderProblems(folder)),
  ]);
  using made = new MadeFolder(folder);
  const bytesWritten = await restoreFiles(options, planned.files);
  try {
    const defined = await host.define({ xml: vm.xml, name, uuid, ...placesOf(planned.files) });
    const findings = [...planned.findings, ...defined.findings];
    const durationMs = repository.clock.now() - startedAt;
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
