/**
 * Backup of a folder. The walk goes ahead while contents are stored; a folder's node is written when
 * all below it is. A file whose metadata is that of the parent point is not read. What cannot be
 * read, vanishes or changes is a finding.
 */
import {
  type FileContent,
  type FileEntry,
  type FileMetadata,
  type Finding,
  type FindingCode,
  isOutOfResources,
  reasonOf,
  type RunContext,
  systemErrorCode,
  tellDone,
  tellFinding,
} from '@coffer/base';
import { type FileStats, statAt } from '@coffer/base/folder-calls.ts';
import {
  type ChunkId,
  type Session,
  storableAttributes,
  unstorable,
  writeFolder,
  type WriteNode,
} from '@coffer/repository';
import { ITSELF, readMetadata } from '@coffer/workloads/files/metadata.ts';
import { isCacheFolder, isCacheTag } from '@coffer/workloads/files/selection.ts';
import { FileThreads } from '@coffer/workloads/files/file-threads.ts';
import type { SourceFolder } from '@coffer/workloads/files/source-folder.ts';
import { RelativePath } from '../relative-path.ts';
import { ContentStore, type FileToStore } from './file-content.ts';
import { ListedFolder } from './listed-folder.ts';
import { ParentFiles, type ParentFilesOptions } from './parent-files.ts';

export interface FilesBackupOptions extends ParentFilesOptions {
  /** The root folder of the parent point. */
  readonly parentRoot: ChunkId | undefined;
  readonly session: Session;
  readonly writeNode: WriteNode;
  readonly slabCount: number;
  /** Tells what is left out. */
  readonly isExcluded: (relative: RelativePath, isFolder: boolean) => boolean;
  readonly oneFileSystem: boolean;
  /** A folder that is left out, wherever it is met: the repository itself. */
  readonly leftOut: Pick<FileStats, 'device' | 'inode'> | undefined;
}

export interface FilesBackupResult {
  readonly root: ChunkId;
  readonly bytesSource: number;
  readonly bytesRead: number;
  readonly fileCount: number;
}

/** An entry whose content or folder may still be under way. */
interface Draft {
  metadata: FileMetadata;
  content: FileContent | undefined;
  folder: ChunkId | undefined;
}

/** A folder that was walked; `stored` resolves to its root when all below it is stored. */
interface WalkedFolder {
  readonly stored: Promise<ChunkId>;
}

interface FilePlace {
  readonly folder: SourceFolder;
  readonly relative: RelativePath;
  readonly device: bigint;
}

/** A name, and its place among those of the folder. */
interface Named {
  readonly name: Buffer;
  readonly index: number;
}

interface FolderPlace {
  readonly listed: ListedFolder;
  /** Relative to the root of the backup; empty for the root. */
  readonly relative: RelativePath;
  readonly parent: ChunkId | undefined;
}

interface FoundFolder {
  readonly draft: Draft;
  /** The folder that it is in, and its place there. */
  readonly place: FolderPlace;
  readonly index: number;
  readonly relative: RelativePath;
  readonly stats: FileStats;
  readonly before: FileEntry | undefined;
}

/** Leaves the root open, as it was given. */
export async function backupFiles(
  run: RunContext,
  root: SourceFolder,
  options: FilesBackupOptions,
): Promise<FilesBackupResult> {
  return await new FilesBackup(run, root, options).all();
}

class FilesBackup {
  readonly #run: RunContext;
  readonly #options: FilesBackupOptions;
  readonly #root: SourceFolder;
  readonly #rootDevice: bigint;
  readonly #threads = new FileThreads();
  readonly #contents: ContentStore;
  /** First draft of each file that has several names, so that it is read once. */
  readonly #linked = new Map<string, { draft: Draft; seen: FileMetadata; stored: Promise<void> }>();
  readonly #parent: ParentFiles;
  #bytesSource = 0;
  #fileCount = 0;

  constructor(run: RunContext, root: SourceFolder, options: FilesBackupOptions) {
    this.#run = run;
    this.#options = options;
    this.#parent = new ParentFiles(options);
    this.#root = root;
    this.#rootDevice = statAt(root.fd, ITSELF).device;
    this.#contents = new ContentStore(run, { ...options, threads: this.#threads });
  }

  async all(): Promise<FilesBackupResult> {
    // What fails gives its files and slabs back before anybody is told.
    await using _threads = this.#threads;
    await using _contents = this.#contents;
    const listing = { threads: this.#threads, clock: this.#run.clock };
    const root = await this.#walkFolder({
      listed: ListedFolder.root(this.#root, listing),
      relative: RelativePath.ROOT,
      parent: this.#options.parentRoot,
    });
    await this.#contents.flush();
    return {
      root: await root.stored,
      // Sparse files can be larger together than what a point can say.
      bytesSource: Math.min(this.#bytesSource, Number.MAX_SAFE_INTEGER),
      bytesRead: this.#contents.bytesRead,
      fileCount: this.#fileCount,
    };
  }

  async #walkFolder(place: FolderPlace): Promise<WalkedFolder> {
    this.#run.signal.throwIfAborted();
    const before = await this.#entriesBefore(place.parent);
    const drafts: Draft[] = [];
    const waits = new Set<Promise<void>>();
    try {
      for (const named of await this.#names(place)) {
        this.#lookAhead(place, named);
        const known = before.get(named.name.toString('latin1'));
        const draft = await this.#walkName(place, named, known, waits);
        if (draft) drafts.push(draft);
      }
    } finally {
      await place.listed.closeAhead();
    }
    const stored = this.#storeFolder(drafts, waits);
    // A failure is thrown where the root is awaited; until then it must not count as unhandled.
    stored.catch(() => {});
    return { stored };
  }

  async #storeFolder(
    drafts: readonly Draft[],
    waits: ReadonlySet<Promise<void>>,
  ): Promise<ChunkId> {
    await Promise.all(waits);
    const entries = drafts.filter(isWhole).map(toEntry);
    return await writeFolder(entries, this.#options.writeNode);
  }

  async #entriesBefore(folder: ChunkId | undefined): Promise<ReadonlyMap<string, FileEntry>> {
    try {
      return await this.#parent.entries(folder);
    } catch (error) {
      // Damage of an older point must not keep us from making a whole one: all is read instead.
      this.#find('parent-unreadable', RelativePath.ROOT, { reason: reasonOf(error) });
      return new Map();
    }
  }

  /** Names in the order of their bytes. */
  async #names({ listed, relative }: FolderPlace): Promise<readonly Named[]> {
    try {
      const names = await listed.names();
      const all = names.map((name, index) => ({ name, index }));
      const isCache = isCacheFolder(listed.folder.fd, names);
      return isCache ? all.filter(({ name }) => isCacheTag(name)) : all;
    } catch (error) {
      if (isOutOfResources(error)) throw error;
      this.#find('folder-unreadable', relative, { reason: reasonOf(error) });
      return [];
    }
  }

  /** Has the folders listed that the walk comes to next. */
  #lookAhead({ listed, relative }: FolderPlace, { index }: Named): void {
    listed.lookAhead(index, (name, stats) => {
      const isHere = !this.#options.oneFileSystem || stats.device === this.#rootDevice;
      return (
        isHere && !this.#isLeftOut(stats) && !this.#options.isExcluded(relative.at(name), true)
      );
    });
  }

  async #walkName(
    place: FolderPlace,
    { name, index }: Named,
    before: FileEntry | undefined,
    waits: Set<Promise<void>>,
  ): Promise<Draft | undefined> {
    const relative = place.relative.at(name);
    const { folder } = place.listed;
    try {
      const stats = place.listed.statsOf(index);
      if (this.#options.isExcluded(relative, stats.type === 'directory')) return undefined;
      if (this.#isLeftOut(stats)) return undefined;
      const isKnown =
        before && this.#parent.isUnchanged(before, { folder: folder.fd, name }, stats);
      const isTold = isKnown && !this.#mayHide(folder, before, stats);
      if (isTold && (await this.#parent.isStored(before))) return this.#reuse(before, stats);
      const metadata = this.#metadata(folder.fd, name, stats, relative);
      if (!metadata) return undefined;
      const draft: Draft = { metadata, content: undefined, folder: undefined };
      if (metadata.type === 'directory') {
        await this.#walkInto({ draft, place, index, relative, stats, before }, waits);
      }
      const filePlace = { folder, relative, device: stats.device };
      if (metadata.type === 'file') await this.#storeContent(draft, filePlace, waits);
      return draft;
    } catch (error) {
      const code = systemErrorCode(error);
      if (code === undefined || isOutOfResources(error)) throw error;
      const found = code === 'ENOENT' ? 'vanished' : 'unreadable';
      this.#find(found, relative, { reason: reasonOf(error) });
      return undefined;
    }
  }

  /** What a point can hold of it; all else is a finding. Undefined when it cannot hold the file. */
  #metadata(
    folder: number,
    name: Buffer,
    stats: FileStats,
    relative: RelativePath,
  ): FileMetadata | undefined {
    const { type } = stats;
    if (!type) {
      this.#find('unreadable', relative, { reason: 'it is of a type that is not known' });
      return undefined;
    }
    const metadata = readMetadata({ folder, name }, { ...stats, type }, (error) =>
      this.#find('attributes-unreadable', relative, { reason: reasonOf(error) }),
    );
    const { kept, leftOut } = storableAttributes(metadata.extendedAttributes);
    if (leftOut > 0) this.#find('attributes-unreadable', relative, { tooLong: leftOut });
    const storable = { ...metadata, extendedAttributes: kept };
    const problem = unstorable(storable);
    if (problem === undefined) return storable;
    this.#find('unstorable', relative, { problem });
    return undefined;
  }

  async #walkInto(
    { draft, place, index, relative, stats, before }: FoundFolder,
    waits: Set<Promise<void>>,
  ): Promise<void> {
    const isEntered = !this.#options.oneFileSystem || stats.device === this.#rootDevice;
    const listed = isEntered ? await this.#enter(place, index, stats, relative) : undefined;
    const { stored } = listed
      ? await this.#walkOpen({ listed, relative, parent: before?.folder })
      : { stored: this.#storeFolder([], new Set()) };
    const wait = stored.then((folder) => {
      draft.folder = folder;
    });
    wait.catch(() => {});
    waits.add(wait);
  }

  /** Undefined when it cannot be entered: then it is protected as an empty folder, and told. */
  async #enter(
    { listed }: FolderPlace,
    index: number,
    stats: FileStats,
    relative: RelativePath,
  ): Promise<ListedFolder | undefined> {
    try {
      return await listed.enter(index, stats);
    } catch (error) {
      const code = systemErrorCode(error);
      if (code === undefined || code === 'ENOENT' || isOutOfResources(error)) throw error;
      this.#find('folder-unreadable', relative, { reason: reasonOf(error) });
      return undefined;
    }
  }

  async #walkOpen(place: FolderPlace): Promise<WalkedFolder> {
    try {
      return await this.#walkFolder(place);
    } finally {
      await place.listed.close();
    }
  }

  #isLeftOut({ device, inode }: FileStats): boolean {
    const { leftOut } = this.#options;
    return leftOut?.device === device && leftOut.inode === inode;
  }

  /** Takes over what the parent point has. Devices may have other numbers since a restart. */
  #reuse(before: FileEntry, { device, inode }: FileStats): Draft {
    this.#count(before.sizeBytes);
    tellDone(this.#run, { bytes: before.sizeBytes });
    const hardLink = before.hardLink && { device, inode };
    return { metadata: { ...before, hardLink }, content: before.content, folder: undefined };
  }

  /** Its content may be another one by now, and its metadata the same. */
  #mayHide(folder: SourceFolder, { name, sizeBytes }: FileEntry, { device }: FileStats): boolean {
    return sizeBytes === 0 && this.#contents.mayHide({ device, folder, name });
  }

  async #storeContent(draft: Draft, place: FilePlace, waits: Set<Promise<void>>): Promise<void> {
    const seen = draft.metadata;
    this.#count(seen.sizeBytes);
    const link = draft.metadata.hardLink;
    const linkKey = link ? `${link.device}:${link.inode}` : '';
    const first = link && this.#linked.get(linkKey);
    // One that has changed since its first name was read is read again.
    if (first && isSameState(first.seen, seen)) {
      waits.add(
        first.stored.then(() => {
          const { content, metadata } = first.draft;
          draft.content = content;
          draft.metadata = { ...seen, sizeBytes: metadata.sizeBytes };
        }),
      );
      return;
    }
    const { stored } = await this.#contents.store(this.#toStore(draft, seen, place));
    waits.add(stored);
    if (link) this.#linked.set(linkKey, { draft, seen, stored });
  }

  #toStore(draft: Draft, seen: FileMetadata, place: FilePlace): FileToStore {
    const { folder, relative, device } = place;
    const { name, sizeBytes, modifiedNs, changedNs, inode } = seen;
    return {
      folder,
      name,
      sizeBytes,
      modifiedNs,
      changedNs,
      inode,
      device,
      lookAgain: (fd) => {
        try {
          const stats = statAt(fd, name);
          const now = stats.type === 'file' && this.#metadata(fd, name, stats, relative);
          return now ? this.#toStore(draft, now, { ...place, device: stats.device }) : undefined;
        } catch (error) {
          if (systemErrorCode(error) === undefined || isOutOfResources(error)) throw error;
          return undefined;
        }
      },
      onStored: (content, sizeBytesStored) => {
        draft.content = content;
        draft.metadata = { ...seen, sizeBytes: sizeBytesStored };
      },
      onFinding: (code, error) => this.#find(code, relative, { reason: reasonOf(error) }),
    };
  }

  #count(sizeBytes: number): void {
    this.#bytesSource += sizeBytes;
    this.#fileCount++;
    tellDone(this.#run, { items: 1 });
  }

  #find(code: FindingCode, relative: RelativePath, details: Finding['details']): void {
    tellFinding(this.#run, { code, subject: relative.subject, details });
  }
}

function isSameState(one: FileMetadata, other: FileMetadata): boolean {
  return (
    one.sizeBytes === other.sizeBytes &&
    one.modifiedNs === other.modifiedNs &&
    one.changedNs === other.changedNs
  );
}

/** A file that could not be read has no content: it is a finding, and not in the point. */
function isWhole({ metadata, content }: Draft): boolean {
  return metadata.type !== 'file' || content !== undefined;
}

function toEntry({ metadata, content, folder }: Draft): FileEntry {
  return { ...metadata, content, folder };
}
