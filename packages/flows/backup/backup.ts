/** The backup flow of a folder or a disk: one item becomes one recovery point. */
import { closeSync, statSync } from 'node:fs';
import {
  assert,
  CofferError,
  collecting,
  type ExtendedAttribute,
  type Finding,
  reasonOf,
  type RunContext,
  systemErrorCode,
  tellFinding,
  tellPhase,
  tellTotal,
} from '@coffer/base';
import { type FileStats, OPEN_NAME, openPath, statAt, statOf } from '@coffer/base/folder-calls.ts';
import { bytesOfText } from '@coffer/base/path-text.ts';
import type { Disk } from '@coffer/disk/disk.ts';
import {
  type ChunkId,
  DISK_ROOT_NAME,
  FILES_ROOT_NAME,
  latestPoint,
  type PointRoot,
  type RecoveryPoint,
  type WriterRepository,
  type Session,
  storableAttributes,
} from '@coffer/repository';
import { ITSELF, readMetadata } from '@coffer/workloads/files/metadata.ts';
import { excludeBy } from '@coffer/workloads/files/selection.ts';
import { SourceFolder } from '@coffer/workloads/files/source-folder.ts';
import { backupDisk } from './disk.ts';
import { backupFiles, type FilesBackupOptions } from './files.ts';
import type { Manifest } from '../manifest.ts';
import { openParentNodes } from './parent-nodes.ts';
import { type BackupResult, type Captured, makePoints, type RunOptions } from './run.ts';

export type { BackupResult };

export interface FilesSource {
  readonly kind: 'files';
  /** Absolute path of the folder, as `textOfBytes` says it. */
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

export interface BackupOptions extends RunOptions {
  readonly source: BackupSource;
  readonly item: string;
  /** Where a writer that cannot open what it has stored keeps what it has to know. */
  readonly notebooks?: string | undefined;
}

/** Fails as `makePoints` does, and when the source cannot be read at all. */
export async function backup(run: RunContext, options: BackupOptions): Promise<BackupResult> {
  const [result] = await makePoints(run, options, async function* ({ repository, session, scope }) {
    const { source, item, notebooks } = options;
    const writing = { repository, session, scope, item, notebooks };
    yield source.kind === 'disk'
      ? await captureDisk(run, source, writing)
      : await captureFiles(run, source, writing);
  });
  assert(result !== undefined, 'a run gives a result for each capture');
  return result;
}

interface Writing {
  readonly repository: WriterRepository;
  readonly session: Session;
  readonly scope: AsyncDisposableStack;
  readonly item: string;
  readonly notebooks: string | undefined;
}

async function captureDisk(
  run: RunContext,
  { disk, path }: DiskSource,
  { repository, session, item }: Writing,
): Promise<Captured> {
  tellPhase(run, 'read-disks');
  tellTotal(run, { bytes: disk.sizeBytes });
  const slabCount = repository.work.slabsUseful;
  const before = imageState(path);
  const { root, bytesRead } = await backupDisk(run, { disk, session, slabCount });
  const roots = [rootOf(DISK_ROOT_NAME, root, disk.sizeBytes)];
  const changed: Finding = { code: 'changed', subject: { kind: 'path', name: path }, details: {} };
  const findings = imageState(path) === before ? [] : [changed];
  for (const finding of findings) tellFinding(run, finding);
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
  outer: RunContext,
  source: FilesSource,
  writing: Writing,
): Promise<Captured> {
  const { repository, session, scope, item } = writing;
  const { run, findings } = collecting(outer);
  const wanted = await parentPoint(repository, item, source);
  const nodes = scope.use(openParentNodes(repository, { ...writing, parent: wanted }));
  const parent = nodes.reader && wanted;
  if (wanted && !parent) {
    tellFinding(run, {
      code: 'notebook-lost',
      subject: { kind: 'point', name: wanted.id },
      details: {},
    });
  }
  tellPhase(run, 'read-files');
  const root = openRoot(source.path);
  try {
    const rootFolder = readRootFolder(run, root);
    tellTotal(run, { bytes: parent?.roots[0]?.sizeBytes ?? 0 });
    const result = await backupFiles(run, root, {
      parentRoot: parent && rootIdOf(parent),
      session,
      reader: nodes.reader,
      writeNode: nodes.writeNode,
      slabCount: repository.work.slabsUseful,
      isExcluded: excludedBy(source.exclude),
      oneFileSystem: source.oneFileSystem,
      parentTakenAt: parent?.takenAt ?? 0,
      leftOut: folderOf(repository),
      isStored: (id) => session.writer.isStored(id),
    });
    const { root: rootId, bytesSource, bytesRead, fileCount } = result;
    const roots = [rootOf(FILES_ROOT_NAME, rootId, bytesSource)];
    const manifest = { fileCount, rootFolder };
    const keep = async (point: string): Promise<void> => nodes.keep(point);
    const shared = { item, roots, bytesRead, findings, manifest, keep };
    return { kind: 'files', sourcePath: source.path, ...shared };
  } finally {
    root.close();
  }
}

/** Of a repository in a folder: what is stored would be stored again by each backup. */
function folderOf({ location }: WriterRepository): FileStats | undefined {
  try {
    return statByPath(location);
  } catch {
    // It is somewhere else.
    return undefined;
  }
}

/** Of what a path leads to. */
function statByPath(path: string): FileStats {
  const fd = openPath(bytesOfText(path), OPEN_NAME);
  try {
    return statOf(fd);
  } finally {
    closeSync(fd);
  }
}

/** Fails with `source-not-found` or `source-unreadable`. */
function openRoot(path: string): SourceFolder {
  try {
    if (statByPath(path).type === 'directory') return SourceFolder.root(bytesOfText(path));
  } catch (error) {
    const reason = systemErrorCode(error);
    const code = reason === 'ENOENT' ? 'source-not-found' : 'source-unreadable';
    throw new CofferError(code, { path, reason }, error);
  }
  const reason = 'it is not a folder';
  throw new CofferError('source-unreadable', { path, reason });
}

function readRootFolder(run: RunContext, { fd: folder }: SourceFolder): Manifest['rootFolder'] {
  const tell = (details: Finding['details']): void =>
    tellFinding(run, {
      code: 'attributes-unreadable',
      subject: { kind: 'path', name: '' },
      details,
    });
  const stats = { ...statAt(folder, ITSELF), type: 'directory' } as const;
  const metadata = readMetadata({ folder, name: ITSELF }, stats, (error) =>
    tell({ reason: reasonOf(error) }),
  );
  const { mode, userId, groupId, modifiedNs } = metadata;
  const { kept, leftOut } = storableAttributes(metadata.extendedAttributes);
  if (leftOut > 0) tell({ tooLong: leftOut });
  const extendedAttributes = kept.map(toText);
  return { mode, userId, groupId, modifiedNs: String(modifiedNs), extendedAttributes };
}

function toText({ name, value }: ExtendedAttribute): { name: string; value: string } {
  return { name: name.toString('base64'), value: value.toString('base64') };
}

async function parentPoint(
  repository: WriterRepository,
  item: string,
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
  const points = await repository.points({ onDamaged: () => {}, filter: { item } });
  const ofKind = points.filter((point) => point.kind === kind);
  return latestPoint(ofKind, item, repository.run.clock.now());
}

function rootIdOf(point: RecoveryPoint): ChunkId | undefined {
  const root = point.roots[0];
  return root && Buffer.from(root.root, 'hex');
}

function rootOf(name: string, root: ChunkId, sizeBytes: number): PointRoot {
  return { name, root: root.toString('hex'), sizeBytes };
}

function excludedBy(patterns: readonly string[]): FilesBackupOptions['isExcluded'] {
  if (patterns.length === 0) return () => false;
  const isNamed = excludeBy(patterns);
  return (relative, isFolder) => isNamed(relative.bytes, isFolder);
}
