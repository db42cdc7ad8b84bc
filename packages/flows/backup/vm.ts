/**
 * Stores what a capture of a virtual machine gives. What changed since the base is read where the
 * host can tell; a disk of which it cannot is read whole, and compared by chunk.
 */
import {
  assert,
  collecting,
  mapBounded,
  mapBoundedOrNone,
  type Finding,
  type RunContext,
  tellFinding,
} from '@coffer/base';
import type { ByteRange, Disk } from '@coffer/disk/disk.ts';
import { openRawDisk } from '@coffer/disk/raw.ts';
import { joinedRanges } from '@coffer/disk/without-ranges.ts';
import type {
  BaseDisk,
  PointRoot,
  RecoveryPoint,
  WriterRepository,
  Session,
} from '@coffer/repository';
import type { CapturedDisk, CapturedFile, VmCapture } from '@coffer/workloads/vm-capture.ts';
import { diffDisks } from '../browse/diff-disks.ts';
import { backupChangedDisk, changedChunks } from './changed-disk.ts';
import { backupDisk, type DiskBackupOptions, type DiskBackupResult } from './disk.ts';
import type { VmManifest } from '../manifest.ts';
import type { VmBase } from './vm-base.ts';
import { type ReadDisk, type WithoutSwap, withoutSwap } from './vm-swap.ts';

/** Disks that are moved at once; each has several reads under way. */
const DISKS_AT_ONCE = 4;

export interface VmBackupOptions {
  readonly repository: WriterRepository;
  readonly session: Session;
  /** Reads all disks whole, and compares with what is known to have changed. */
  readonly checks: boolean;
  /** Also reads what the guest has swapped out. */
  readonly readsSwap: boolean;
}

/** How the state of a disk was read. */
export interface DiskRead {
  readonly name: string;
  readonly mode: 'changes' | 'whole';
  /** Why it was read whole. */
  readonly reason: string | undefined;
}

export interface VmBackupResult {
  readonly roots: readonly PointRoot[];
  readonly bytesRead: number;
  readonly disks: readonly DiskRead[];
  readonly manifest: VmManifest;
  readonly findings: readonly Finding[];
}

export async function backupVm(
  outer: RunContext,
  options: VmBackupOptions,
  { capture, base }: { readonly capture: VmCapture; readonly base: VmBase | undefined },
): Promise<VmBackupResult> {
  const { run, findings } = collecting(outer);
  let bytesRead = 0;
  const { readsSwap } = options;
  const read = await withoutSwap(run, capture, { readsSwap, before: base?.swap ?? [] });
  const backUp = async (captured: ReadDisk, signal: AbortSignal): Promise<PointRoot> => {
    const part = { ...run, signal };
    const stored = await backupCaptured(part, options, { captured, base });
    bytesRead += stored.bytesRead;
    const old = options.checks && base && baseDisk(base.point, captured.name);
    if (old) await tellUntracked(part, options, { captured, old, root: stored.root });
    return rootOf(captured.name, stored.root, captured.disk.sizeBytes);
  };
  const disks = await mapBoundedOrNone(read.disks, DISKS_AT_ONCE, run.signal, backUp);
  const files = await mapBounded(capture.files, 1, async (file) => {
    const stored = await backupFile(run, options, file);
    bytesRead += stored.bytesRead;
    return rootOf(file.name, stored.root, stored.sizeBytes);
  });
  const manifest = manifestOf(capture, read);
  const reads = read.disks.map(diskRead);
  return { roots: [...disks, ...files], bytesRead, disks: reads, manifest, findings };
}

async function backupCaptured(
  run: RunContext,
  options: VmBackupOptions,
  { captured, base }: { readonly captured: CapturedDisk; readonly base: VmBase | undefined },
): Promise<DiskBackupResult> {
  const { name, disk, changes } = captured;
  const old = base && baseDisk(base.point, name);
  if (options.checks || !changes || !old) return await backupDisk(run, writing(options, disk));
  assert(old.sizeBytes <= disk.sizeBytes, 'a disk that became smaller is captured whole');
  const reader = options.repository.during(run).diskNodes();
  return await backupChangedDisk(run, { ...writing(options, disk), reader, base: old, changes });
}

async function backupFile(
  run: RunContext,
  options: VmBackupOptions,
  { path }: CapturedFile,
): Promise<DiskBackupResult & { sizeBytes: number }> {
  const disk = await openRawDisk(path);
  try {
    const { sizeBytes } = disk;
    return { ...(await backupDisk(run, writing(options, disk))), sizeBytes };
  } finally {
    await disk.close();
  }
}

function writing({ repository, session }: VmBackupOptions, disk: Disk): DiskBackupOptions {
  return { disk, session, slabCount: repository.work.slabsUseful };
}

/**
 * What differs from the base although nothing has told so: then earlier points that were made by
 * changes lack it. The new point is right in any case, since all was read for it.
 */
async function tellUntracked(
  run: RunContext,
  { repository, session }: VmBackupOptions,
  stored: { readonly captured: ReadDisk; readonly old: BaseDisk; readonly root: Buffer },
): Promise<void> {
  const { captured, old, root } = stored;
  const { name, disk, changes, leftOut } = captured;
  if (!changes) return;
  // Before that, new nodes cannot be read.
  await session.writer.flush();
  // What was left out may have been read for the base.
  const told = joinedRanges([
    ...(await rangesOf(changedChunks(changes, disk.sizeBytes))),
    ...(await rangesOf(changedChunks(leftOut, disk.sizeBytes))),
  ]);
  const differences = diffDisks(repository.during(run).diskNodes(), old, {
    root,
    sizeBytes: disk.sizeBytes,
  });
  const bytes = await untoldBytes(differences, { told, end: old.sizeBytes });
  if (bytes === 0) return;
  const subject = { kind: 'disk', name } as const;
  tellFinding(run, { code: 'change-untracked', subject, details: { bytes } });
}

async function rangesOf(ranges: AsyncIterable<ByteRange>): Promise<ByteRange[]> {
  const all: ByteRange[] = [];
  for await (const range of ranges) all.push(range);
  return all;
}

/**
 * Of the differences before `end`, what was not told. Both are in order; what is told does not
 * overlap.
 */
export async function untoldBytes(
  differences: AsyncIterable<ByteRange>,
  { told, end }: { readonly told: readonly ByteRange[]; readonly end: number },
): Promise<number> {
  let bytes = 0;
  let index = 0;
  const endOf = (range: ByteRange): number => range.offset + range.length;
  for await (const difference of differences) {
    const differenceEnd = Math.min(endOf(difference), end);
    for (let at = difference.offset; at < differenceEnd;) {
      while (index < told.length && endOf(told[index]!) <= at) index++;
      const next = told[index];
      const start = Math.max(at, Math.min(next?.offset ?? end, differenceEnd));
      bytes += start - at;
      at = next && start < differenceEnd ? Math.min(endOf(next), differenceEnd) : differenceEnd;
    }
  }
  return bytes;
}

function baseDisk(point: RecoveryPoint, name: string): BaseDisk | undefined {
  const root = point.roots.find((each) => each.name === name);
  return root && { root: Buffer.from(root.root, 'hex'), sizeBytes: root.sizeBytes };
}

function rootOf(name: string, root: Buffer, sizeBytes: number): PointRoot {
  return { name, root: root.toString('hex'), sizeBytes };
}

function diskRead({ name, changes, reason }: ReadDisk): DiskRead {
  return { name, mode: changes ? 'changes' : 'whole', reason };
}

function manifestOf(capture: VmCapture, { disks, swap }: WithoutSwap): VmManifest {
  const { name, uuid, xml, consistency, checkpoint, files, excluded } = capture;
  return {
    name,
    uuid,
    xml,
    consistency: { ...consistency },
    checkpoint: checkpoint && { ...checkpoint },
    disks: disks.map(({ name: disk, format, path, identities, reason }) => ({
      name: disk,
      format,
      path,
      identities: [...identities],
      reason,
    })),
    files: files.map((file) => ({ ...file })),
    excluded: excluded.map((each) => ({ ...each })),
    swap,
  };
}
