/**
 * Restore of a folder. Folders are made first and get their metadata last, when all in them is
 * written. What cannot be restored of one path is a finding, and the run goes on.
 *
 * Invariant: an open folder is closed when all in it is there, or when the run has ended.
 */
import { isDeepStrictEqual } from 'node:util';
import { CofferError, type FileMetadata, type RunContext, systemErrorCode } from '@coffer/base';
import { type FileIdentity, TargetFolder } from '@coffer/workloads/files/target-folder.ts';
import type { FolderMetadata } from '@coffer/workloads/files/target-metadata.ts';
import { depthFirst } from '../../depth-first.ts';
import { RelativePath } from '../../relative-path.ts';
import { type Conflict, type PreparedName, prepareName } from '../conflict.ts';
import type { FileContents, FilesSource, FolderWalk } from './files-source.ts';
import { OpenFolder } from './open-folder.ts';
import type { PathFindings } from './path-findings.ts';
import { isDevice, PRIVILEGED, withoutPrivileges } from './privileges.ts';
import { type FilesRestoreResult, RestoreRun } from './restore-run.ts';
import { type FileJob, inPlace, type LookedUp } from './target-file.ts';

export interface FilesRestoreOptions {
  readonly findings: PathFindings;
  /** Undefined: the target was empty, so only what is restored itself can be in the way. */
  readonly conflict: Conflict | undefined;
  /** The folder was made for what is restored. */
  readonly isNewTarget: boolean;
  /** True for a path (relative to what is restored) that is wanted. */
  readonly isIncluded: (relative: RelativePath, isFolder: boolean) => boolean;
}

/** Restores what is wanted of the source into the folder that `targetPath` names. */
export async function restoreFiles(
  run: RunContext,
  source: FilesSource,
  targetPath: Buffer,
  options: FilesRestoreOptions,
): Promise<FilesRestoreResult> {
  return await new FilesRestore(run, source, options).into(targetPath);
}

/** A folder that is restored. */
interface Place {
  readonly folder: OpenFolder;
  readonly relative: RelativePath;
  readonly metadata: FolderMetadata | undefined;
  readonly entries: () => Iterable<FileMetadata> | AsyncIterable<FileMetadata>;
  /** What has to be there before it is finished. */
  readonly waits: Set<Promise<void>>;
  /** The same of the folder that it is in. */
  readonly waitsAbove: Set<Promise<void>>;
}

/** Where the first of several names of one file was restored, and when it is there. */
interface FirstName {
  readonly entry: FileMetadata;
  readonly folder: OpenFolder;
  readonly relative: RelativePath;
  /** The name that it has by now. */
  readonly name: () => Buffer;
  /** What it is, once it is there: its folder may be given to somebody who puts another one there. */
  readonly stored: Promise<FileIdentity | undefined>;
}

class FilesRestore {
  readonly #options: FilesRestoreOptions;
  readonly #source: FilesSource;
  readonly #run: RestoreRun;
  readonly #walk: FolderWalk;
  readonly #contents: FileContents;
  readonly #linked = new Map<string, FirstName>();
  readonly #open = new Set<OpenFolder>();

  constructor(run: RunContext, source: FilesSource, options: FilesRestoreOptions) {
    this.#options = options;
    this.#source = source;
    this.#run = new RestoreRun(run, options.findings);
    this.#walk = source.walk();
    this.#contents = source.contents(this.#run);
  }

  async into(targetPath: Buffer): Promise<FilesRestoreResult> {
    const { wanted, rootMetadata } = this.#source;
    const target = TargetFolder.open(targetPath);
    const folder = OpenFolder.root(target);
    // A folder that the user gave stays what it is, unless it was made for this, or is overwritten.
    const { conflict, isNewTarget } = this.#options;
    const isTaken = isNewTarget || conflict === undefined || OVERWRITES.has(conflict);
    const metadata = isTaken ? rootMetadata : undefined;
    const finished = new Set<Promise<void>>();
    const root: Place = {
      folder,
      relative: RelativePath.ROOT,
      metadata,
      entries: () => (wanted.type === 'directory' ? this.#walk.entries(wanted, 0) : [wanted]),
      waits: new Set(),
      waitsAbove: finished,
    };
    try {
      const folders = depthFirst(this.#foldersIn(root), (place) => this.#foldersIn(place));
      while (!(await folders.next()).done);
      await this.#contents.flush();
      await this.#run.tasks.drain();
      await Promise.all(finished);
      this.#run.findings.tellRefused();
      return this.#run.result;
    } finally {
      await this.#close();
    }
  }

  /** Nothing is under way or open afterwards, even when the run was broken off. */
  async #close(): Promise<void> {
    await this.#run.tasks[Symbol.asyncDispose]();
    await this.#run.threads[Symbol.asyncDispose]();
    // A folder shows the way to the one that it is in, so that goes after it.
    for (const folder of [...this.#open].toReversed()) folder.close();
  }

  /** Restores what is in a folder; the folders in it are for the caller to go on with. */
  async *#foldersIn(place: Place): AsyncGenerator<Place> {
    const { findings, context } = this.#run;
    this.#open.add(place.folder);
    try {
      for await (const entry of place.entries()) {
        context.signal.throwIfAborted();
        const relative = place.relative.at(entry.name);
        const below = await findings.attempt(relative, () => this.#entry(entry, place, relative));
        if (below) yield below;
      }
    } catch (error) {
      findings.caught(place.relative, error);
    }
    const finished = this.#finishFolder(place);
    // A failure is thrown where the root is awaited; until then it must not count as unhandled.
    finished.catch(() => {});
    place.waitsAbove.add(finished);
  }

  async #finishFolder({ folder, metadata, relative, waits }: Place): Promise<void> {
    await Promise.all(waits);
    if (metadata && folder.isOpen) {
      await this.#run.findings.attempt(relative, () =>
        folder.target.setMetadata(metadata, this.#run.findings.refused(relative)),
      );
    }
    folder.close();
    this.#open.delete(folder);
  }

  /** Returns a folder that is to be gone into. */
  async #entry(
    entry: FileMetadata,
    place: Place,
    relative: RelativePath,
  ): Promise<Place | undefined> {
    const isFolder = entry.type === 'directory';
    const included = this.#options.isIncluded(relative, isFolder);
    if (isFolder) return this.#subfolder(entry, { place, relative, included });
    if (included) await this.#file(entry, place, relative);
    return undefined;
  }

  async #file(entry: FileMetadata, place: Place, relative: RelativePath): Promise<void> {
    const { folder } = place;
    const look = (): LookedUp | undefined => this.#look(entry, folder, relative);
    const isUnseen = folder.target.isNew && !entry.hardLink && this.#contents.isBatched(entry);
    const found = isUnseen ? ({ name: entry.name, existing: 'unseen' } as const) : look();
    const admitted = found && this.#admitted(entry, relative);
    if (!admitted) return;
    const onRenamed = this.#onRenamed(relative);
    const job = { entry: admitted, folder, relative, ...found, look, onRenamed };
    await this.#create(job, place.waits);
  }

  /** What this host takes of it; undefined for nothing. */
  #admitted(entry: FileMetadata, relative: RelativePath): FileMetadata | undefined {
    if (!this.#source.isForeign) return entry;
    const { findings } = this.#run;
    if (!isDevice(entry)) return withoutPrivileges(entry, findings.refused(relative));
    findings.missing('node', relative, PRIVILEGED);
    return undefined;
  }

  #look(entry: FileMetadata, folder: OpenFolder, relative: RelativePath): LookedUp | undefined {
    const prepared = this.#prepare(folder, entry, relative);
    if (prepared.outcome === 'keep') {
      if (prepared.name !== entry.name) this.#run.named(relative, prepared.name);
      this.#run.result.bytesKept += entry.sizeBytes;
      return undefined;
    }
    if (prepared.outcome === 'refuse') {
      this.#run.findings.add('conflict', relative, { reason: prepared.reason });
      return undefined;
    }
    const { name, existing } = prepared;
    if (name !== entry.name) this.#renamed(relative, name);
    return { name, existing };
  }

  /** Fails with `target-not-empty` where nothing was to be there. */
  #prepare(
    { target }: OpenFolder,
    entry: FileMetadata,
    relative: RelativePath,
  ): Exclude<PreparedName, { readonly outcome: 'fail' }> {
    const prepared = prepareName(target, entry, this.#options.conflict);
    if (prepared.outcome !== 'fail') return prepared;
    throw new CofferError('target-not-empty', { path: relative.subject.name });
  }

  /** Undefined when something else has its place. */
  #subfolder(
    entry: FileMetadata,
    { place, relative, included }: { place: Place; relative: RelativePath; included: boolean },
  ): Place | undefined {
    let name = entry.name;
    let replaces = false;
    if (place.folder.isOpen || included) {
      const prepared = this.#prepare(place.folder, entry, relative);
      if (prepared.outcome === 'refuse') {
        this.#run.findings.add('conflict', relative, { reason: prepared.reason });
        return undefined;
      }
      name = prepared.name;
      replaces = prepared.outcome === 'create' && prepared.existing === 'replace';
    }
    if (name !== entry.name) this.#renamed(relative, name);
    const onRenamed = this.#onRenamed(relative);
    const folder = place.folder.folder({ name, replaces, onRenamed });
    // A folder that is wanted itself is made even when it is empty.
    if (included) void folder.target;
    return {
      folder,
      relative,
      metadata: entry,
      entries: () => this.#walk.entries(entry, relative.depth),
      waits: new Set(),
      waitsAbove: place.waits,
    };
  }

  async #create(job: FileJob, waits: Set<Promise<void>>): Promise<void> {
    const { entry, folder, relative } = job;
    const linkKey = entry.hardLink && `${entry.hardLink.device}:${entry.hardLink.inode}`;
    const first = linkKey === undefined ? undefined : this.#linked.get(linkKey);
    // What was one file in the source may have been changed between its names.
    if (first && isSameFile(first.entry, entry)) {
      waits.add(this.#link(first, job));
      return;
    }
    const stored = entry.type === 'file' ? (await this.#contents.write(job)).stored : DONE;
    if (entry.type !== 'file') this.#createOther(job);
    waits.add(stored);
    if (linkKey === undefined) return;
    const name = (): Buffer => this.#run.result.names.get(relative.key) ?? job.name;
    const identified = stored.then(() => folder.target.identityOf(name()));
    // Its folder waits for that before it is anybody else's; a failure is thrown there.
    const known = identified.then(() => {});
    known.catch(() => {});
    waits.add(known);
    this.#linked.set(linkKey, { entry, folder, relative, name, stored: identified });
  }

  /** Both are kept where that was asked for; else the target takes another name for this one. */
  #renamed(relative: RelativePath, name: Buffer): void {
    if (this.#options.conflict === 'keep-both') this.#run.named(relative, name);
    else this.#onRenamed(relative)(name);
  }

  /** Takes the name that something has instead of its own. */
  #onRenamed(relative: RelativePath): (name: Buffer) => void {
    return (name) => {
      this.#run.named(relative, name);
      this.#run.findings.renamed(relative, name);
    };
  }

  #createOther(job: FileJob): void {
    const { entry, folder, relative } = job;
    const { findings } = this.#run;
    const refused = findings.refused(relative);
    try {
      inPlace(job, (newName) => {
        const named = { ...entry, name: newName };
        if (entry.type === 'symlink') folder.target.createLink(named, refused);
        else folder.target.createNode(named, refused);
      });
    } catch (error) {
      if (!isUnsupported(error)) throw error;
      findings.missing(entry.type === 'symlink' ? 'link' : 'node', relative, error);
    }
  }

  /** Names are resolved in open folders, so that nobody can put another file in the place. */
  #link(first: FirstName, job: FileJob): Promise<void> {
    const { relative } = job;
    const { findings } = this.#run;
    const linked = first.stored.then(async (identity) => {
      if (findings.hasFailed(first.relative)) {
        // What is under its first name, if anything, is another file.
        const reason = 'the first name of the file was not restored';
        findings.add('not-restored', relative, { reason });
        return;
      }
      await findings.attempt(relative, () => this.#linkOrCopy(first, identity, job));
    });
    linked.catch(() => {
      // It is thrown where the root is awaited, unless the run has failed before that.
    });
    return linked;
  }

  /** Where the target has no hard links, each name is a file of its own. */
  async #linkOrCopy(
    first: FirstName,
    identity: FileIdentity | undefined,
    job: FileJob,
  ): Promise<void> {
    const { entry, folder, relative } = job;
    try {
      inPlace(job, (newName) =>
        folder.target.createHardLink(first.folder.at(first.name()), newName, identity),
      );
      return;
    } catch (error) {
      if (!isUnsupported(error)) throw error;
      this.#run.findings.copiedInsteadOfLinked(relative, error);
    }
    if (entry.type === 'file') await (await this.#contents.writeAlone(job)).stored;
    else this.#createOther(job);
  }
}

const DONE = Promise.resolve();

/**
 * How targets say that they have no such things. exFAT over FUSE has an error of its disk for it.
 * Where folders get other numbers by and by, what is closed is not found again.
 */
const UNSUPPORTED_CODES = [
  'EPERM',
  'EOPNOTSUPP',
  'ENOTSUP',
  'ENOSYS',
  'EMLINK',
  'EXDEV',
  'EIO',
  'ESTALE',
];

function isUnsupported(error: unknown): boolean {
  const code = systemErrorCode(error);
  return code !== undefined && UNSUPPORTED_CODES.includes(code);
}

const OVERWRITES: ReadonlySet<Conflict> = new Set(['overwrite', 'delta']);

/** Of one file as it was at one moment; volumes of disks cannot change between two names. */
function isSameFile(one: FileMetadata, other: FileMetadata): boolean {
  const [first, second] = [contentOf(one), contentOf(other)];
  return one.sizeBytes === other.sizeBytes && isDeepStrictEqual(first, second);
}

function contentOf(entry: FileMetadata & { readonly content?: unknown }): unknown {
  return entry.content;
}
