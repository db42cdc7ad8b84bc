/** The backup flow: one item becomes one recovery point. */
import { hostname } from 'node:os';
import { CofferError, type ExtendedAttribute, type Finding } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import {
  type ChunkId,
  DISK_ROOT_NAME,
  encodePoint,
  FILES_ROOT_NAME,
  latestPoint,
  type PointKind,
  type PointRoot,
  type RecoveryPoint,
  type Repository,
  type Session,
} from '@coffer/repository';
import type { CaptureBase, VmCapture } from '@coffer/workloads/vm-capture.ts';
import { readMetadata, readStats } from '@coffer/workloads/files/metadata.ts';
import { excludeBy } from '@coffer/workloads/files/selection.ts';
import type { Progress } from '../progress.ts';
import { backupDisk } from './disk.ts';
import { backupFiles } from './files.ts';
import { keptFindings, type Manifest } from './manifest.ts';
import { backupVm, findVmBase } from './vm.ts';

export interface FilesSource {
  readonly kind: 'files';
  /** Absolute path of the folder. */
  readonly path: string;
  /** Which point unchanged files are known from; by default the newest of the item. */
  readonly parent: RecoveryPoint | 'latest' | 'none';
  /** Patterns in the syntax of gitignore. */
  readonly exclude: readonly string[];
  readonly oneFileSystem: boolean;
}

export interface DiskSource {
  readonly kind: 'disk';
  /** Where the disk is from, as people name it. */
  readonly path: string;
  readonly disk: Disk;
}

export interface VmSource {
  readonly kind: 'vm';
  /** Where the machine is, as people name it. */
  readonly path: string;
  readonly uuid: string;
  /** Captures the machine; what changed since the base is told where that is possible. */
  capture(base: CaptureBase | undefined): Promise<VmCapture>;
}

export type BackupSource = FilesSource | DiskSource | VmSource;

export interface BackupOptions {
  readonly repository: Repository;
  readonly source: BackupSource;
  readonly item: string;
  readonly tags: Readonly<Record<string, string>>;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

export interface BackupResult {
  readonly point: string;
  readonly item: string;
  readonly kind: PointKind;
  readonly takenAt: string;
  readonly bytesSource: number;
  readonly bytesRead: number;
  readonly bytesStored: number;
  /** The part of it that trees take: folders, and where chunks belong. */
  readonly bytesStoredNodes: number;
  readonly chunksNew: number;
  readonly chunksReused: number;
  readonly durationMs: number;
  readonly findings: readonly Finding[];
}

/** What one kind of capture gives. */
interface Captured {
  readonly roots: readonly PointRoot[];
  readonly bytesRead: number;
  readonly manifest: Pick<Manifest, 'fileCount' | 'rootFolder' | 'vm'>;
  /** Called when the point is stored. */
  keep?(): Promise<void>;
}

/** One run; what a capture holds is given back at its end, whatever that is. */
interface Run extends BackupOptions {
  readonly session: Session;
  readonly findings: Finding[];
  readonly scope: AsyncDisposableStack;
}

export async function backup(options: BackupOptions): Promise<BackupResult> {
  const { repository, signal } = options;
  const takenAt = repository.clock.now();
  const session = await repository.beginSession(signal);
  try {
    await using scope = new AsyncDisposableStack();
    const run: Run = { ...options, session, findings: [], scope };
    const captured = await capture(run);
    await session.writer.flush();
    const result = resultOf(run, captured, takenAt);
    const { item, source, tags } = options;
    const point = encodePoint(
      { item, kind: source.kind, takenAt, roots: [...captured.roots], tags },
      manifestOf(run, captured, result),
      { ...repository.keys, random: repository.random },
    );
    signal?.throwIfAborted();
    await session.commit([point]);
    await captured.keep?.();
    return { ...result, point: point.id };
  } catch (error) {
    await session.abandon().catch(() => {
      // The store may be gone; a garbage collection ends the session then.
    });
    throw error;
  }
}

async function capture(run: Run): Promise<Captured> {
  const { source } = run;
  switch (source.kind) {
    case 'disk':
      return await captureDisk(run, source);
    case 'files':
      return await captureFiles(run, source);
    case 'vm':
      return await captureVm(run, source);
  }
}

async function captureDisk(run: Run, { disk }: DiskSource): Promise<Captured> {
  const { repository, session, progress, signal } = run;
  progress.bytesTotal = disk.sizeBytes;
  const slabCount = repository.work.slabsUseful;
  const { root, bytesRead } = await backupDisk({ disk, session, slabCount, progress, signal });
  const roots = [rootOf(DISK_ROOT_NAME, root, disk.sizeBytes)];
  return { roots, bytesRead, manifest: {} };
}

async function captureVm(run: Run, source: VmSource): Promise<Captured> {
  const base = await findVmBase(run.repository, run.item, source.uuid);
  const captured = run.scope.use(await source.capture(base?.capture));
  const { roots, bytesRead, manifest } = await backupVm(run, captured, base);
  return { roots, bytesRead, manifest: { vm: manifest }, keep: () => captured.keep() };
}

async function captureFiles(run: Run, source: FilesSource): Promise<Captured> {
  const { repository, session, findings, progress, signal } = run;
  const rootFolder = readRootFolder(source.path);
  const parent = await parentPoint(run, source);
  progress.bytesTotal = parent?.roots[0]?.sizeBytes ?? 0;
  const result = await backupFiles(source.path, parent && rootIdOf(parent), {
    session,
    reader: repository.reader(signal),
    slabCount: repository.work.slabsUseful,
    isExcluded: excludeBy(source.exclude),
    oneFileSystem: source.oneFileSystem,
    isStored: (id) => session.writer.isStored(id),
    progress,
    onFinding: (finding) => findings.push(finding),
    signal,
  });
  const { root, bytesSource, bytesRead, fileCount } = result;
  const roots = [rootOf(FILES_ROOT_NAME, root, bytesSource)];
  return { roots, bytesRead, manifest: { fileCount, rootFolder } };
}

/** Fails with `source-not-found` or `source-unreadable`. */
function readRootFolder(path: string): Manifest['rootFolder'] {
  const bytes = Buffer.from(path);
  const stats = statsOf(path);
  if (!stats.isDirectory()) {
    throw new CofferError('source-unreadable', {
      path,
      reason: 'not a folder; an image or block device needs --disk',
    });
  }
  const { mode, userId, groupId, modifiedNs, extendedAttributes } = readMetadata(
    bytes,
    bytes,
    stats,
    'directory',
  );
  return {
    mode,
    userId,
    groupId,
    modifiedNs: String(modifiedNs),
    extendedAttributes: extendedAttributes.map(toText),
  };
}

function statsOf(path: string): ReturnType<typeof readStats> {
  try {
    return readStats(Buffer.from(path));
  } catch (error) {
    throw new CofferError('source-not-found', { path }, error);
  }
}

function toText({ name, value }: ExtendedAttribute): { name: string; value: string } {
  return { name: name.toString('base64'), value: value.toString('base64') };
}

async function parentPoint(
  { repository, item }: BackupOptions,
  { parent, kind }: FilesSource,
): Promise<RecoveryPoint | undefined> {
  if (parent === 'none') return undefined;
  if (parent !== 'latest') {
    if (parent.kind !== kind) throw new CofferError('kind-mismatch', { point: parent.id });
    // It may have been removed since it was named.
    if (await repository.isListed(parent)) return parent;
    throw new CofferError('point-not-found', { point: parent.id });
  }
  const points = await repository.points(() => {
    // A damaged point is no parent, and no reason not to make a new one.
  });
  const ofKind = points.filter((point) => point.kind === kind);
  return latestPoint(ofKind, item);
}

function rootIdOf(point: RecoveryPoint): ChunkId | undefined {
  const root = point.roots[0];
  return root && Buffer.from(root.root, 'hex');
}

function rootOf(name: string, root: ChunkId, sizeBytes: number): PointRoot {
  return { name, root: root.toString('hex'), sizeBytes };
}

function resultOf(
  { repository, item, source, session, findings }: Run,
  { roots, bytesRead }: Captured,
  takenAt: number,
): Omit<BackupResult, 'point'> {
  const { chunksNew, chunksReused, bytesStored, bytesStoredNodes } = session.writer.statistics;
  return {
    item,
    kind: source.kind,
    takenAt: new Date(takenAt).toISOString(),
    bytesSource: roots.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    bytesRead,
    bytesStored,
    bytesStoredNodes,
    chunksNew,
    chunksReused,
    durationMs: repository.clock.now() - takenAt,
    findings,
  };
}

function manifestOf(
  { source }: Run,
  { manifest }: Captured,
  { findings, bytesRead, bytesStored, durationMs }: Omit<BackupResult, 'point'>,
): Manifest {
  return {
    host: hostname(),
    sourcePath: source.path,
    ...manifest,
    ...keptFindings(findings),
    bytesRead,
    bytesStored,
    durationMs,
  };
}
