/**
 * Restore of a virtual machine that runs at once: on overlays over the disks of its point, which a
 * process of its own serves. Later the disks are moved to images of their own while it runs.
 */
import { existsSync, rmSync } from 'node:fs';
import { CofferError } from '@coffer/base';
import type { RecoveryPoint, Repository } from '@coffer/repository';
import type { DiskImage, VmHost } from '@coffer/workloads/vm-host.ts';
import type { Progress } from '../progress.ts';
import { type InstantRecord, type InstantRecords, socketPathOf } from './instant-record.ts';
import { createOverlays, planOverlays } from './served-disks.ts';
import type { VmRestoreResult } from './vm-copy.ts';
import {
  fileMisfits,
  placesOf,
  planFiles,
  type PlannedFile,
  refuseMisfits,
  removeFiles,
  restoreFiles,
} from './vm-files.ts';
import { vmOf } from './vm-point.ts';

export interface VmInstantOptions {
  readonly repository: Repository;
  readonly point: RecoveryPoint;
  readonly host: VmHost;
  readonly name: string;
  readonly uuid: string;
  /** Absolute path of the folder that gets the overlays, and the images later. */
  readonly folder: string;
  readonly connect: string;
  readonly runFolder: string;
  readonly records: InstantRecords;
  /** Resolves when the process that serves the disks has found the record, and does. */
  serve(): Promise<void>;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

/** Fails with `kind-mismatch`, `vm-name-taken`, `target-unfit`. Nothing is left then. */
export async function restoreVmInstant(options: VmInstantOptions): Promise<VmRestoreResult> {
  const { repository, point, host, name, uuid, folder, records } = options;
  const startedAt = repository.clock.now();
  const vm = vmOf(repository, point);
  const overlays = planOverlays(vm, options);
  const planned = planFiles(vm, { name, uuid, folder, format: 'qcow2' });
  const files = planned.files.filter(({ oldPath }) => oldPath !== undefined);
  const misfits = await host.misfits({ xml: vm.xml, name, uuid });
  refuseMisfits(misfits, fileMisfits(planned.files, { folder, bytesNeeded: 0 }));
  const record = await recordOf(options, overlays, planned.files);
  records.write(record);
  try {
    // It takes as long as all the rest, and is needed only when the machine starts.
    const serving = options.serve();
    serving.catch(() => {
      // What else fails before is told first.
    });
    const bytesWritten = await restoreFiles(options, files);
    await createOverlays(overlays, { point, socketPath: socketPathOf(record) });
    const places = { files: placesOf(files).files, disks: overlays, pausesOnError: true };
    const { findings } = await host.define({ xml: vm.xml, name, uuid, ...places });
    await serving;
    await host.start(uuid);
    const durationMs = repository.clock.now() - startedAt;
    const all = [...planned.findings, ...findings];
    const { id } = point;
    return { point: id, name, uuid, bytesWritten, bytesKept: 0, durationMs, findings: all };
  } catch (error) {
    await discardInstant(options, record);
    throw error;
  }
}

async function recordOf(
  { repository, point, name, uuid, connect, runFolder }: VmInstantOptions,
  overlays: ReadonlyMap<string, DiskImage>,
  planned: readonly PlannedFile[],
): Promise<InstantRecord> {
  // Its chunks are needed as long as the machine runs on them.
  const holdsPoint = !point.held;
  if (holdsPoint) await repository.hold(point);
  const images = planned.filter(({ oldPath }) => oldPath === undefined);
  return {
    vm: name,
    uuid,
    point: point.id,
    repository: repository.location,
    connect,
    runFolder,
    holdsPoint,
    disks: images.map(({ root, path }) => {
      return { name: root, overlay: overlays.get(root)?.path ?? '', image: path };
    }),
    files: planned.filter(({ oldPath }) => oldPath !== undefined).map(({ path }) => path),
  };
}

export interface InstantOptions {
  readonly repository: Repository;
  readonly host: VmHost;
  readonly records: InstantRecords;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Moves the disks to images of their own while the machine runs; then nothing of it needs the point.
 * Can be repeated after an interruption.
 */
export async function migrateInstant(
  options: InstantOptions & { readonly progress: Progress },
  record: InstantRecord,
): Promise<void> {
  const { host, progress, signal } = options;
  const known = await host.find(record.uuid);
  if (!known) throw new CofferError('vm-not-found', { vm: record.vm });
  if (known.isOff) {
    const reason = 'it is off: start it, so that its disks can be moved';
    throw new CofferError('vm-busy', { vm: record.vm, reason });
  }
  for (const { name, image } of record.disks) {
    // Of a run that was interrupted.
    if (known.disks.get(name)?.path === image) continue;
    const before = progress.bytesDone;
    await host.moveDisk(record.uuid, name, {
      to: { path: image, format: 'qcow2' },
      onProgress: (bytesDone, bytesTotal) => {
        progress.bytesDone = before + bytesDone;
        progress.bytesTotal = Math.max(progress.bytesTotal, before + bytesTotal);
      },
      signal,
    });
  }
  await finish(options, record);
}

/** Ends the machine and removes all of it. */
export async function discardInstant(
  options: InstantOptions,
  record: InstantRecord,
): Promise<void> {
  const { host } = options;
  if (await host.find(record.uuid)) await host.remove(record.uuid);
  removeFiles(record.files.map((path) => ({ path })));
  removeFiles(record.disks.map(({ image: path }) => ({ path })));
  await finish(options, record);
}

/** Without its record, the process that serves ends. */
async function finish(
  { repository, records }: InstantOptions,
  { uuid, point: id, holdsPoint, disks, runFolder }: InstantRecord,
): Promise<void> {
  for (const { overlay } of disks) rmSync(overlay, { force: true });
  if (holdsPoint) {
    const point = (await repository.points(() => {})).find((each) => each.id === id);
    if (point) await repository.release(point);
  }
  records.remove(uuid);
  if (existsSync(runFolder)) rmSync(runFolder, { recursive: true, force: true });
}
