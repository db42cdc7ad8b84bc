/**
 * Stores what a capture of a virtual machine gives. What changed since the base is read where the
 * host can tell; a disk of which it cannot is read whole, and compared by chunk.
 */
import { assert, type Finding, mapBounded, mapBoundedOrNone } from '@coffer/base';
import type { ByteRange } from '@coffer/disk/disk.ts';
import { openRawDisk } from '@coffer/disk/raw.ts';
import { joinedRanges } from '@coffer/disk/without-ranges.ts';
import type {
  BaseDisk,
  PointRoot,
  RecoveryPoint,
  UnlockedRepository,
  Session,
} from '@coffer/repository';
import type { CapturedDisk, CapturedFile, VmCapture } from '@coffer/workloads/vm-capture.ts';
import { diffDisks } from '../browse/diff-disks.ts';
import type { Progress } from '../progress.ts';
import { backupChangedDisk, changedChunks } from './changed-disk.ts';
import { backupDisk, type DiskBackupResult } from './disk.ts';
import type { VmManifest } from './manifest.ts';
import type { VmBase } from './vm-base.ts';
import { type ReadDisk, type WithoutSwap, withoutSwap } from './vm-swap.ts';

/** Disks that are moved at once; each has several reads under way. */
const DISKS_AT_ONCE = 4;

export interface VmBackupOptions {
  readonly repository: UnlockedRepository;
  readonly session: Session;
  /** Reads all disks whole, and compares with what is known to have changed. */
  readonly checks: boolean;
  /** Also reads what the guest has swapped out. */
  readonly readsSwap: boolean;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
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
  options: VmBackupOptions,
  capture: VmCapture,
  base: VmBase | undefined,
): Promise<VmBackupResult> {
  const findings: Finding[] = [];
  let bytesRead = 0;
  const { readsSwap, signal } = options;
  const read = await withoutSwap(capture, { readsSwap, before: base?.swap ?? [], signal });
  const backUp = async (captured: ReadDisk, ended: AbortSignal): Promise<PointRoot> => {
    const run = { ...options, signal: ended };
    const stored = await backupCaptured(run, captured, base);
    bytesRead += stored.bytesRead;
    const old = options.checks && base && baseDisk(base.point, captured.name);
    if (old) findings.push(...(await untracked(run, captured, { old, root: stored.root })));
    return rootOf(captured.name, stored.root, captured.disk.sizeBytes);
  };
  const disks = await mapBoundedOrNone(read.disks, DISKS_AT_ONCE, signal, backUp);
  const files = await mapBounded(capture.files, 1, async (file) => {
    const stored = await backupFile(options, file);
    bytesRead += stored.bytesRead;
    return rootOf(file.name, stored.root, stored.sizeBytes);
  });
  const manifest = manifestOf(capture, read);
  const reads = read.disks.map(diskRead);
  return { roots: [...disks, ...files], bytesRead, disks: reads, manifest, findings };
}

async function backupCaptured(
  options: VmBackupOptions,
  { name, disk, changes }: CapturedDisk,
  base: VmBase | undefined,
): Promise<DiskBackupResult> {
  const old = base && baseDisk(base.point, name);
  if (options.checks || !changes || !old) return await backupDisk({ ...run(options), disk });
  assert(old.sizeBytes <= disk.sizeBytes, 'a disk that became smaller is captured whole');
  const reader = options.repository.reader(options.signal);
  return await backupChangedDisk({ ...run(options), disk, reader, base: old, changes });
}

async function backupFile(
  options: VmBackupOptions,
  { path }: CapturedFile,
): Promise<DiskBackupResult & { sizeBytes: number }> {
  const disk = await openRawDisk(path);
  try {
    return { ...(await backupDisk({ ...run(options), disk })), sizeBytes: disk.sizeBytes };
  } finally {
    await disk.close();
  }
}

function run({ repository, session, progress, signal }: VmBackupOptions): {
  session: Session;
  slabCount: number;
  progress: Progress;
  signal: AbortSignal | undefined;
} {
  return { session, slabCount: repository.work.slabsUseful, progress, signal };
}

/**
 * What differs from the base although nothing has told so: then earlier points that were made by
 * changes lack it. The new point is right in any case, since all was read for it.
 */
async function untracked(
  { repository, session, signal }: VmBackupOptions,
  { name, disk, changes, leftOut }: ReadDisk,
  { old, root }: { readonly old: BaseDisk; readonly root: Buffer },
): Promise<Finding[]> {
  if (!changes) return [];
  // Before that, new nodes cannot be read.
  await session.writer.flush();
  // What was left out may have been read for the base.
  const told = joinedRanges([
    ...(await rangesOf(changedChunks(changes, disk.sizeBytes))),
    ...(await rangesOf(changedChunks(leftOut, disk.sizeBytes))),
  ]);
  const differences = diffDisks(repository.reader(signal), old, {
    root,
    sizeBytes: disk.sizeBytes,
  });
  const bytes = await untoldBytes(differences, { told, end: old.sizeBytes });
  if (bytes === 0) return [];
  const message = `${bytes} bytes had changed without being tracked; points since then lack them`;
  return [{ code: 'change-untracked', path: name, message }];
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
