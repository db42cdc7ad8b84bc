/** Restore of a virtual machine as a new one: its images and files, then its definition. */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CofferError, type Finding } from '@coffer/base';
import { openManifest, type RecoveryPoint, type Repository } from '@coffer/repository';
import type { RestoredVm, VmHost } from '@coffer/workloads/vm-host.ts';
import { parseManifest, type VmManifest } from '../backup/manifest.ts';
import { newProgress, type Progress } from '../progress.ts';
import { restore } from './restore.ts';

export interface VmRestoreOptions {
  readonly repository: Repository;
  readonly point: RecoveryPoint;
  readonly host: VmHost;
  /** Of the new machine; its files get names that begin with it. */
  readonly name: string;
  /** Absolute path of the folder that gets the files. */
  readonly folder: string;
  readonly format: 'qcow2' | 'raw';
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

export interface VmRestoreResult {
  readonly point: string;
  readonly name: string;
  readonly uuid: string;
  readonly bytesWritten: number;
  readonly durationMs: number;
  readonly findings: readonly Finding[];
}

/** Fails with `kind-mismatch`, `target-not-empty`, and what the host says. No file is left then. */
export async function restoreVm(options: VmRestoreOptions): Promise<VmRestoreResult> {
  const { repository, point, host, name } = options;
  const startedAt = repository.clock.now();
  const vm = vmOf(repository, point);
  await host.check({ xml: vm.xml, name });
  const planned = plan(options, vm);
  const taken = planned.find(({ path }) => existsSync(path));
  if (taken) throw new CofferError('target-not-empty', { target: taken.path });
  try {
    let bytesWritten = 0;
    for (const file of planned) bytesWritten += await restoreOne(options, file);
    const { uuid, findings } = await host.define(restored(vm, name, planned));
    const durationMs = repository.clock.now() - startedAt;
    return { point: point.id, name, uuid, bytesWritten, durationMs, findings };
  } catch (error) {
    for (const { path } of planned) rmSync(path, { force: true });
    throw error;
  }
}

function vmOf(repository: Repository, point: RecoveryPoint): VmManifest {
  const { vm } = parseManifest(openManifest(point, repository.keys));
  if (!vm)
    throw new CofferError('kind-mismatch', { point: point.id, kind: point.kind, needs: 'vm' });
  return vm;
}

interface PlannedFile {
  readonly root: string;
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
  /** Of a file of the host: where it was. */
  readonly oldPath: string | undefined;
}

function plan({ folder, name, format }: VmRestoreOptions, vm: VmManifest): PlannedFile[] {
  const disks = vm.disks.map((disk) => ({
    root: disk.name,
    path: join(folder, `${name}-${disk.name}.${format}`),
    format,
    oldPath: undefined,
  }));
  const files = vm.files.map((file) => ({
    root: file.name,
    path: join(folder, `${name}-${file.role}`),
    format: 'raw' as const,
    oldPath: file.path,
  }));
  return [...disks, ...files];
}

async function restoreOne(
  { repository, point, progress, signal }: VmRestoreOptions,
  { root, path, format }: PlannedFile,
): Promise<number> {
  const part = newProgress();
  const { bytesWritten } = await restore({
    repository,
    point,
    disk: root,
    path: '',
    target: path,
    image: { format, subformat: 'dynamic' },
    conflict: undefined,
    include: [],
    dryRun: false,
    verify: false,
    progress: part,
    signal,
  });
  progress.bytesDone += part.bytesTotal;
  progress.itemsDone++;
  return bytesWritten;
}

function restored(vm: VmManifest, name: string, planned: readonly PlannedFile[]): RestoredVm {
  const disks = planned.filter(({ oldPath }) => oldPath === undefined);
  const files = planned.flatMap(({ oldPath, path }): [string, string][] =>
    oldPath === undefined ? [] : [[oldPath, path]],
  );
  return {
    xml: vm.xml,
    name,
    disks: new Map(disks.map(({ root, path, format }) => [root, { path, format }])),
    files: new Map(files),
  };
}
