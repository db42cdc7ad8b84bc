/** The backup flow of a folder or a disk: one item becomes one recovery point. */
import { realpathSync, statSync } from 'node:fs';
import { assert, CofferError, type ExtendedAttribute, type Finding } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import {
  type ChunkId,
  DISK_ROOT_NAME,
  FILES_ROOT_NAME,
  latestPoint,
  type PointRoot,
  type RecoveryPoint,
  type UnlockedRepository,
  type Session,
} from '@coffer/repository';
import { readMetadata, readStats } from '@coffer/workloads/files/metadata.ts';
import { excludeBy } from '@coffer/workloads/files/selection.ts';
import type { Progress } from '../progress.ts';
import { backupDisk } from './disk.ts';
import { backupFiles } from './files.ts';
import type { Manifest } from './manifest.ts';
import { type BackupResult, type Captured, makePoints } from './run.ts';

export type { BackupResult };

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
  readonly repository: UnlockedRepository;
  readonly source: BackupSource;
  readonly item: string;
  readonly tags: Readonly<Record<string, string>>;
  /** What is stored is read back; without all of it, no point is made. */
  readonly readsBack?: boolean | undefined;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

export async function backup(options: BackupOptions): Promise<BackupResult> {
  const [result] = await makePoints(options, async function* ({ session }) {
    const { source } = options;
    yield source.kind === 'disk'
      ? await captureDisk(options, source, session)
      : await captureFiles(options, source, session);
  });
  assert(result !== undefined, 'a run gives a result for each capture');
  return result;
}

async function captureDisk(
  { repository, item, progress, signal }: BackupOptions,
  { disk, path }: DiskSource,
  session: Session,
): Promise<Captured> {
  progress.bytesTotal = disk.sizeBytes;
  const slabCount = repository.work.slabsUseful;
  const before = imageState(path);
  const { root, bytesRead } = await backupDisk({ disk, session, slabCount, progress, signal });
  const roots = [rootOf(DISK_ROOT_NAME, root, disk.sizeBytes)];
  const message = 'the image changed while it was read';
  const findings = imageState(path) === before ? [] : [{ code: 'changed', path, message }];
  return { item, kind: 'disk', sourcePath: path, roots, bytesRead, findings, manifest: {} };
}

/** Of an image in a file, which nobody should write to; undefined for all else. */
function imageState(path: string): string | undefined {
  try {
    const { size, mtimeNs, ctimeNs, ino } = statSync(path, { bigint: true });
    return statSync(path).isFile() ? [size, mtimeNs, ctimeNs, ino].join(' ') : undefined;
  } catch {
    return undefined;
  }
}

async function captureFiles(
  options: BackupOptions,
  source: FilesSource,
  session: Session,
): Promise<Captured> {
  const { repository, item, progress, signal } = options;
  const rootFolder = readRootFolder(source.path);
  const parent = await parentPoint(options, source);
  const findings: Finding[] = [];
  progress.bytesTotal = parent?.roots[0]?.sizeBytes ?? 0;
  const result = await backupFiles(source.path, parent && rootIdOf(parent), {
    session,
    reader: repository.reader(signal),
    slabCount: repository.work.slabsUseful,
    isExcluded: excludeBy(source.exclude),
    oneFileSystem: source.oneFileSystem,
    parentTakenAt: parent?.takenAt ?? 0,
    leftOut: folderOf(repository),
    isStored: (id) => session.writer.isStored(id),
    progress,
    onFinding: (finding) => findings.push(finding),
    signal,
  });
  const { root, bytesSource, bytesRead, fileCount } = result;
  const roots = [rootOf(FILES_ROOT_NAME, root, bytesSource)];
  const manifest = { fileCount, rootFolder };
  return { item, kind: 'files', sourcePath: source.path, roots, bytesRead, findings, manifest };
}

/** Of a repository in a folder: what is stored would be stored again by each backup. */
function folderOf({ location }: UnlockedRepository): ReturnType<typeof readStats> | undefined {
  try {
    return readStats(Buffer.from(realpathSync(location)));
  } catch {
    // It is somewhere else.
    return undefined;
  }
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
  // A damaged point is no parent, and no reason not to make a new one.
  const points = await repository.points(() => {}, { item });
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
