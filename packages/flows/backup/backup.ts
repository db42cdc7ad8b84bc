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
  type RecoveryPoint,
  type Repository,
  type Session,
} from '@coffer/repository';
import { readMetadata, readStats } from '@coffer/workloads/files/metadata.ts';
import { excludeBy } from '@coffer/workloads/files/selection.ts';
import type { Progress } from '../progress.ts';
import { backupDisk } from './disk.ts';
import { backupFiles } from './files.ts';
import { keptFindings, type Manifest } from './manifest.ts';

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

export type BackupSource = FilesSource | DiskSource;

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
  readonly root: ChunkId;
  readonly bytesSource: number;
  readonly bytesRead: number;
  readonly fileCount?: number | undefined;
  readonly rootFolder?: Manifest['rootFolder'];
}

export async function backup(options: BackupOptions): Promise<BackupResult> {
  const { repository, signal } = options;
  const takenAt = repository.clock.now();
  const findings: Finding[] = [];
  const session = await repository.beginSession(signal);
  try {
    const { source } = options;
    const captured =
      source.kind === 'disk'
        ? await captureDisk(options, source, session)
        : await captureFiles(options, source, { session, findings });
    await session.writer.flush();
    const result = resultOf(options, { takenAt, captured, session, findings });
    const point = encodePoint(
      {
        item: options.item,
        kind: options.source.kind,
        takenAt,
        roots: [rootOfPoint(options.source.kind, captured)],
        tags: options.tags,
      },
      manifestOf(options, captured, result),
      { ...repository.keys, random: repository.random },
    );
    signal?.throwIfAborted();
    await session.commit([point]);
    return { ...result, point: point.id };
  } catch (error) {
    await session.abandon().catch(() => {
      // The store may be gone; a garbage collection ends the session then.
    });
    throw error;
  }
}

async function captureDisk(
  { repository, progress, signal }: BackupOptions,
  { disk }: DiskSource,
  session: Session,
): Promise<Captured> {
  progress.bytesTotal = disk.sizeBytes;
  const slabCount = repository.work.slabsUseful;
  const { root, bytesRead } = await backupDisk({ disk, session, slabCount, progress, signal });
  return { root, bytesRead, bytesSource: disk.sizeBytes };
}

async function captureFiles(
  options: BackupOptions,
  source: FilesSource,
  { session, findings }: { session: Session; findings: Finding[] },
): Promise<Captured> {
  const { repository, progress, signal } = options;
  const root = readRootFolder(source.path);
  const parent = await parentPoint(options, source);
  progress.bytesTotal = parent?.roots[0]?.sizeBytes ?? 0;
  const result = await backupFiles(source.path, parent && rootOf(parent), {
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
  return { ...result, rootFolder: root };
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

function rootOfPoint(kind: PointKind, { root, bytesSource }: Captured): RecoveryPoint['roots'][0] {
  const name = kind === 'files' ? FILES_ROOT_NAME : DISK_ROOT_NAME;
  return { name, root: root.toString('hex'), sizeBytes: bytesSource };
}

function rootOf(point: RecoveryPoint): ChunkId | undefined {
  const root = point.roots[0];
  return root && Buffer.from(root.root, 'hex');
}

function resultOf(
  options: BackupOptions,
  run: { takenAt: number; captured: Captured; session: Session; findings: readonly Finding[] },
): Omit<BackupResult, 'point'> {
  const { chunksNew, chunksReused, bytesStored, bytesStoredNodes } = run.session.writer.statistics;
  return {
    item: options.item,
    kind: options.source.kind,
    takenAt: new Date(run.takenAt).toISOString(),
    bytesSource: run.captured.bytesSource,
    bytesRead: run.captured.bytesRead,
    bytesStored,
    bytesStoredNodes,
    chunksNew,
    chunksReused,
    durationMs: options.repository.clock.now() - run.takenAt,
    findings: run.findings,
  };
}

function manifestOf(
  options: BackupOptions,
  captured: Captured,
  result: Omit<BackupResult, 'point'>,
): Manifest {
  return {
    host: hostname(),
    sourcePath: options.source.path,
    rootFolder: captured.rootFolder,
    fileCount: captured.fileCount,
    ...keptFindings(result.findings),
    bytesRead: result.bytesRead,
    bytesStored: result.bytesStored,
    durationMs: result.durationMs,
  };
}
