/** A walk over what is restored, without restoring it. */
import type { FileMetadata } from '@coffer/base';
import { joinPath } from '@coffer/workloads/files/metadata.ts';
import type { FilesSource, FolderWalk } from './files-source.ts';
import type { PathFindings } from './path-findings.ts';

/** Folders are held open from the root down; a hostile file system may nest without end. */
export const FOLDER_DEPTH_MAX = 2048;

export interface WalkedEntry {
  readonly entry: FileMetadata;
  /** From where the walk began. */
  readonly relative: Buffer;
}

export interface WalkOptions {
  /** Takes what cannot be read. */
  readonly findings: PathFindings;
  readonly isIncluded: (relative: Buffer, isFolder: boolean) => boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Calls `visit` with all that is included but folders, one after the other. */
export async function walkSource(
  source: FilesSource,
  options: WalkOptions,
  visit: (walked: WalkedEntry) => void | Promise<void>,
): Promise<void> {
  const { wanted } = source;
  if (wanted.type !== 'directory') {
    if (options.isIncluded(wanted.name, false))
      await visit({ entry: wanted, relative: wanted.name });
    return;
  }
  const folders = source.walk();
  await walkFolder({ entry: wanted, relative: Buffer.alloc(0) }, { ...options, folders, visit }, 0);
}

interface Walk extends WalkOptions {
  readonly folders: FolderWalk;
  readonly visit: (walked: WalkedEntry) => void | Promise<void>;
}

async function walkFolder(folder: WalkedEntry, walk: Walk, depth: number): Promise<void> {
  if (depth > FOLDER_DEPTH_MAX) {
    walk.findings.add('not-restored', folder.relative, 'it is nested too deep');
    return;
  }
  await walk.findings.attempt(folder.relative, async () => {
    for await (const entry of walk.folders.entries(folder.entry)) {
      walk.signal?.throwIfAborted();
      const relative = joinPath(folder.relative, entry.name);
      if (entry.type === 'directory') await walkFolder({ entry, relative }, walk, depth + 1);
      else if (walk.isIncluded(relative, false)) await walk.visit({ entry, relative });
    }
  });
}
