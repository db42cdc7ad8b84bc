/**
 * Backup of a virtual machine: all disks of one moment. What changed since the newest point is read
 * where the host can tell; a disk of which it cannot is read whole, and compared by chunk.
 */
import { mapBounded } from '@coffer/base';
import { openRawDisk } from '@coffer/disk/raw.ts';
import {
  type BaseDisk,
  openManifest,
  type PointRoot,
  type RecoveryPoint,
  type Repository,
  type Session,
} from '@coffer/repository';
import type { CaptureBase, CapturedDisk, VmCapture } from '@coffer/workloads/vm-capture.ts';
import type { Progress } from '../progress.ts';
import { backupChangedDisk } from './changed-disk.ts';
import { backupDisk } from './disk.ts';
import { parseManifest, type VmManifest } from './manifest.ts';

/** Disks that are moved at once; each has several reads under way. */
const DISKS_AT_ONCE = 4;

export interface VmBackupOptions {
  readonly repository: Repository;
  readonly session: Session;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

export interface VmBackupResult {
  readonly roots: readonly PointRoot[];
  readonly bytesRead: number;
  readonly manifest: VmManifest;
}

/** A point that a capture can be based on, and what it says of the machine. */
export interface VmBase {
  readonly point: RecoveryPoint;
  readonly capture: CaptureBase;
}

/**
 * The newest point of a machine that later captures can be based on. It has to be looked for after
 * the session began: then nothing that it reaches is collected while the session runs.
 */
export async function findVmBase(
  repository: Repository,
  item: string,
  uuid: string,
): Promise<VmBase | undefined> {
  const points = await repository.points(() => {
    // A damaged point is no base, and no reason not to make a new one.
  });
  const ofItem = points.filter((point) => point.kind === 'vm' && point.item === item);
  const newest = ofItem.toSorted((a, b) => b.takenAt - a.takenAt)[0];
  const vm = newest && parseManifest(openManifest(newest, repository.keys)).vm;
  if (!newest || vm?.uuid !== uuid || vm.checkpoint === undefined) return undefined;
  const diskSizes = new Map(newest.roots.map(({ name, sizeBytes }) => [name, sizeBytes]));
  return { point: newest, capture: { checkpoint: vm.checkpoint, diskSizes } };
}

/** Fails with what ended the capture, where it could not go on. */
export async function backupVm(
  options: VmBackupOptions,
  capture: VmCapture,
  base: VmBase | undefined,
): Promise<VmBackupResult> {
  const { signal } = options;
  const either = signal ? AbortSignal.any([signal, capture.signal]) : capture.signal;
  try {
    return await backupDisks({ ...options, signal: either }, capture, base);
  } finally {
    // Reads that failed because of it say less.
    capture.signal.throwIfAborted();
  }
}

async function backupDisks(
  options: VmBackupOptions,
  capture: VmCapture,
  base: VmBase | undefined,
): Promise<VmBackupResult> {
  const { progress } = options;
  progress.bytesTotal = capture.disks.reduce((sum, { disk }) => sum + disk.sizeBytes, 0);
  let bytesRead = 0;
  const disks = await mapBounded(capture.disks, DISKS_AT_ONCE, async (captured) => {
    const stored = await backupCaptured(options, captured, base);
    bytesRead += stored.bytesRead;
    return rootOf(captured.name, stored.root, captured.disk.sizeBytes);
  });
  const files = await mapBounded(capture.files, 1, async ({ name, path }) => {
    const disk = await openRawDisk(path);
    try {
      const stored = await backupDisk({ ...run(options), disk });
      bytesRead += stored.bytesRead;
      return rootOf(name, stored.root, disk.sizeBytes);
    } finally {
      await disk.close();
    }
  });
  return { roots: [...disks, ...files], bytesRead, manifest: manifestOf(capture) };
}

async function backupCaptured(
  options: VmBackupOptions,
  { name, disk, changes }: CapturedDisk,
  base: VmBase | undefined,
): Promise<{ root: Buffer; bytesRead: number }> {
  const old = base && baseDisk(base.point, name);
  if (!changes || !old || old.sizeBytes > disk.sizeBytes) {
    return await backupDisk({ ...run(options), disk });
  }
  const reader = options.repository.reader(options.signal);
  return await backupChangedDisk({ ...run(options), disk, reader, base: old, changes });
}

function run({ repository, session, progress, signal }: VmBackupOptions): {
  session: Session;
  slabCount: number;
  progress: Progress;
  signal: AbortSignal | undefined;
} {
  return { session, slabCount: repository.work.slabsUseful, progress, signal };
}

function baseDisk(point: RecoveryPoint, name: string): BaseDisk | undefined {
  const root = point.roots.find((each) => each.name === name);
  return root && { root: Buffer.from(root.root, 'hex'), sizeBytes: root.sizeBytes };
}

function rootOf(name: string, root: Buffer, sizeBytes: number): PointRoot {
  return { name, root: root.toString('hex'), sizeBytes };
}

function manifestOf(capture: VmCapture): VmManifest {
  const { name, uuid, xml, consistency, checkpoint, disks, files, excluded } = capture;
  return {
    name,
    uuid,
    xml,
    consistency,
    checkpoint,
    disks: disks.map(({ name: disk, format, path, reason }) => ({
      name: disk,
      format,
      path,
      reason,
    })),
    files: files.map((file) => ({ ...file })),
    excluded: excluded.map((each) => ({ ...each })),
  };
}
