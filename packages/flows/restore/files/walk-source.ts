/** A walk over what is restored, without restoring it. */
import type { FileMetadata, RunContext } from '@coffer/base';
import { depthFirst } from '../../depth-first.ts';
import { RelativePath } from '../../relative-path.ts';
import type { FilesSource, FolderWalk } from './files-source.ts';
import type { PathFindings } from './path-findings.ts';

export interface WalkedEntry {
  readonly entry: FileMetadata;
  /** From where the walk began. */
  readonly relative: RelativePath;
}

export interface WalkOptions {
  /** Takes what cannot be read. */
  readonly findings: PathFindings;
  readonly isIncluded: (relative: RelativePath, isFolder: boolean) => boolean;
}

type Visit = (walked: WalkedEntry) => void | Promise<void>;

/** Calls `visit` with all that is included but folders, one after the other. */
export async function walkSource(
  run: RunContext,
  source: FilesSource,
  options: WalkOptions,
  visit: Visit,
): Promise<void> {
  const { wanted } = source;
  if (wanted.type !== 'directory') {
    const relative = RelativePath.ROOT.at(wanted.name);
    if (options.isIncluded(relative, false)) await visit({ entry: wanted, relative });
    return;
  }
  const walk = { ...options, signal: run.signal, folders: source.walk(), visit };
  const root = foldersIn({ entry: wanted, relative: RelativePath.ROOT }, walk);
  const all = depthFirst(root, (folder) => foldersIn(folder, walk));
  while (!(await all.next()).done);
}

interface Walk extends WalkOptions {
  readonly signal: AbortSignal;
  readonly folders: FolderWalk;
  readonly visit: Visit;
}

/** Visits what is in a folder; the folders in it are for the caller to walk. */
async function* foldersIn(folder: WalkedEntry, walk: Walk): AsyncGenerator<WalkedEntry> {
  try {
    for await (const entry of walk.folders.entries(folder.entry, folder.relative.depth)) {
      walk.signal.throwIfAborted();
      const relative = folder.relative.at(entry.name);
      if (entry.type === 'directory') yield { entry, relative };
      else if (walk.isIncluded(relative, false)) await walk.visit({ entry, relative });
    }
  } catch (error) {
    walk.findings.caught(folder.relative, error);
  }
}
