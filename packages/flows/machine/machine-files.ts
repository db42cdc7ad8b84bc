/** Which files a restored machine is made of, where they go, and whether they can be there. */
import { existsSync, rmSync, statfsSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import {
  CofferError,
  type Finding,
  mapBoundedOrNone,
  type RunContext,
  withinPhase,
} from '@coffer/base';
import type { ImageFormat } from '@coffer/disk/image-format.ts';
import type { RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import type { DiskImage, Misfit, RestoredVm } from '@coffer/workloads/vm-host.ts';
import type { VmManifest } from '../manifest.ts';
import { partialPathOf } from '../restore/disk/disk-target.ts';
import { makeFolder } from './made-folder.ts';
import { restoreImage, type RestoreResult } from '../restore/restore.ts';

/** Of a file system of Linux. */
const NAME_BYTES_MAX = 255;
const PATH_BYTES_MAX = 4095;

/** While one is synced, the next one is written. */
const FILES_AT_ONCE = 2;

/** A root of the point as a file of the host. */
export interface PlannedFile {
  readonly root: string;
  readonly path: string;
  readonly format: DiskImage['format'];
  /** Where it was; undefined for a disk. */
  readonly oldPath: string | undefined;
}

export interface FilePlan {
  readonly name: string;
  /** Of the new machine; undefined to keep that of the original. */
  readonly uuid: string | undefined;
  readonly folder: string;
  readonly format: DiskImage['format'];
}

/** All files of a machine under a new name, with what cannot be brought there. */
export function planFiles(
  vm: VmManifest,
  { name, uuid, folder, format }: FilePlan,
): { readonly files: PlannedFile[]; readonly findings: Finding[] } {
  const findings: Finding[] = [];
  const disks = vm.disks.map((disk) => ({
    root: disk.name,
    path: join(folder, `${name}-${disk.name}.${format}`),
    format,
    oldPath: undefined,
  }));
  const others = vm.files.flatMap((file): PlannedFile[] => {
    // It is of use for a moment only: see vm-memory.ts.
    if (file.role === 'memory') return [];
    const shared = { root: file.name, format: 'raw', oldPath: file.path } as const;
    if (file.role !== 'tpm') return [{ ...shared, path: join(folder, `${name}-${file.role}`) }];
    const path = tpmPath(file.path, { from: vm.uuid, to: uuid ?? vm.uuid });
    if (path !== undefined) return [{ ...shared, path }];
    findings.push({
      code: 'tpm-state-lost',
      subject: { kind: 'path', name: file.path },
      details: {},
    });
    return [];
  });
  return { files: [...disks, ...others], findings };
}

/** libvirt finds the state of a TPM below the UUID of its machine, and nowhere else. */
function tpmPath(
  oldPath: string,
  { from, to }: { readonly from: string; readonly to: string },
): string | undefined {
  const folder = oldPath.slice(0, oldPath.lastIndexOf(`/${from}/`));
  return existsSync(folder) ? oldPath.replace(`/${from}/`, `/${to}/`) : undefined;
}

/** All that is in the way of the files. A folder that is not there can be made in one that is. */
export function fileMisfits(
  files: readonly Pick<PlannedFile, 'path'>[],
  { folder, bytesNeeded }: { readonly folder: string; readonly bytesNeeded: number },
): string[] {
  const problems = files.flatMap(({ path }) => {
    // While it is written, a file has a longer name.
    const partial = partialPathOf(path);
    const nameBytes = Buffer.byteLength(basename(partial));
    const isTooLong = nameBytes > NAME_BYTES_MAX || Buffer.byteLength(partial) > PATH_BYTES_MAX;
    if (isTooLong) return [`the path is too long: ${path}`];
    return existsSync(path) ? [`there is a file already: ${path}`] : [];
  });
  const place = [folder, dirname(folder)].find((path) => existsSync(path));
  if (place === undefined) return [...problems, `there is no folder ${dirname(folder)}`];
  if (!statSync(place).isDirectory()) return [...problems, `it is no folder: ${place}`];
  const free = freeBytes(place);
  if (free < bytesNeeded) {
    problems.push(`${place} has ${free} bytes free, ${bytesNeeded} are needed`);
  }
  return problems;
}

function freeBytes(folder: string): number {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  } catch (error) {
    throw new CofferError('target-unwritable', { target: folder }, error);
  }
}

/** Fails with `vm-name-taken` when that is all, else with `target-unfit`, naming everything. */
export function refuseMisfits(misfits: readonly Misfit[], problems: readonly string[]): void {
  const all = [...misfits.map(({ message }) => message), ...problems];
  if (all.length === 0) return;
  const isName = all.length === 1 && misfits[0]?.kind === 'name';
  throw new CofferError(isName ? 'vm-name-taken' : 'target-unfit', { reasons: all.join('; ') });
}

export interface FileRestore {
  readonly repository: UnlockedRepository;
  readonly point: RecoveryPoint;
}

/** Returns how many bytes were written. When one fails, none of them is left. */
export async function restoreFiles(
  run: RunContext,
  options: FileRestore,
  files: readonly PlannedFile[],
): Promise<number> {
  const finished: PlannedFile[] = [];
  try {
    const one = async (file: PlannedFile, signal: AbortSignal): Promise<RestoreResult> => {
      const result = await restoreRoot({ ...run, signal }, options, file);
      finished.push(file);
      return result;
    };
    const results = await mapBoundedOrNone(files, FILES_AT_ONCE, run.signal, one);
    return results.reduce((sum, { bytesWritten }) => sum + bytesWritten, 0);
  } catch (error) {
    // The others may be of somebody else, and why this one has failed.
    removeFiles(finished);
    throw error;
  }
}

/** Also what a killed run has begun of them. */
export function removeFiles(files: readonly Pick<PlannedFile, 'path'>[]): void {
  for (const { path } of files) {
    rmSync(path, { force: true });
    rmSync(partialPathOf(path), { force: true });
  }
}

/** Writes a root of the point as an image; the phase, and its total, are the caller's. */
export async function restoreRoot(
  run: RunContext,
  { repository, point }: FileRestore,
  {
    root,
    path,
    format,
  }: { readonly root: string; readonly path: string; readonly format: ImageFormat },
): Promise<RestoreResult> {
  makeFolder(dirname(path));
  return await restoreImage(withinPhase(run), {
    repository,
    point,
    disk: root,
    target: path,
    image: { format, subformat: 'dynamic' },
    conflict: undefined,
    dryRun: false,
    verify: false,
  });
}

/** What a host has to know of the files. */
export function placesOf(files: readonly PlannedFile[]): Pick<RestoredVm, 'disks' | 'files'> {
  const disks = files.filter(({ oldPath }) => oldPath === undefined);
  const others = files.flatMap(({ oldPath, path }): [string, string][] =>
    oldPath === undefined ? [] : [[oldPath, path]],
  );
  return {
    disks: new Map(disks.map(({ root, path, format }) => [root, { path, format }])),
    files: new Map(others),
  };
}
