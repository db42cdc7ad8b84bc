/**
 * A file system on a volume as what is restored. Whoever made it may be hostile: what no folder can
 * hold is left out and told, and no folder is listed twice, so that every walk has an end.
 */
import { CofferError, type FileMetadata, isFileName } from '@coffer/base';
import type { FileSystem } from '@coffer/file-system/file-system.ts';
import type { FolderMetadata } from '@coffer/workloads/files/target-metadata.ts';
import { findNode, FOLDER_DEPTH_MAX } from '../../browse/list.ts';
import type { FileContents, FilesSource, FolderWalk } from './files-source.ts';
import type { RestoreRun } from './restore-run.ts';
import { differenceFromVolume, VolumeContents } from './volume-contents.ts';

export interface VolumeSourceOptions {
  /** Folders are followed to so many levels below the path. */
  readonly depthMax?: number | undefined;
  /** What gives rights on this host is restored, too. */
  readonly privileges?: boolean | undefined;
}

/** Takes the file system over, unless it fails. Fails with `path-not-found`. */
export async function openVolumeSource(
  fileSystem: FileSystem,
  path: string,
  options: VolumeSourceOptions = {},
): Promise<FilesSource> {
  const { node } = await findNode(fileSystem, path);
  return new VolumeSource(fileSystem, node, options);
}

class VolumeSource implements FilesSource {
  readonly wanted: FileMetadata;
  readonly isForeign: boolean;
  readonly rootMetadata: FolderMetadata | undefined;
  readonly #fileSystem: FileSystem;
  readonly #depthMax: number;

  constructor(fileSystem: FileSystem, wanted: FileMetadata, options: VolumeSourceOptions) {
    const { depthMax = FOLDER_DEPTH_MAX, privileges = false } = options;
    this.wanted = wanted;
    this.isForeign = !privileges;
    this.rootMetadata = wanted.type === 'directory' ? wanted : undefined;
    this.#fileSystem = fileSystem;
    this.#depthMax = depthMax;
  }

  walk(): FolderWalk {
    const listed = new Set<bigint>();
    return {
      entries: (folder, depth) => {
        if (depth > this.#depthMax) throw damaged('folders are in one another without end', folder);
        return listFolder(this.#fileSystem, folder, listed);
      },
    };
  }

  contents(run: RestoreRun): FileContents {
    return new VolumeContents(this.#fileSystem, run);
  }

  async difference(file: FileMetadata, fd: number): Promise<string | undefined> {
    return await differenceFromVolume(this.#fileSystem, file, fd);
  }

  async close(): Promise<void> {
    await this.#fileSystem.close();
  }
}

/**
 * A folder that is in two places may be in itself, or make 2^n folders out of n. Several that are
 * empty may have one number.
 */
async function* listFolder(
  fileSystem: FileSystem,
  folder: FileMetadata,
  listed: Set<bigint>,
): AsyncGenerator<FileMetadata> {
  const isListed = listed.has(folder.inode);
  listed.add(folder.inode);
  let damage: CofferError | undefined;
  for await (const entry of fileSystem.entries(folder)) {
    if (isListed) throw damaged('it is in two places', folder);
    const isSound = isFileName(entry.name) && (entry.type !== 'symlink' || entry.linkTarget);
    if (isSound) yield entry;
    else damage ??= damaged('it holds what no folder can hold', folder);
  }
  if (damage) throw damage;
}

function damaged(reason: string, { inode }: FileMetadata): CofferError {
  return new CofferError('file-system-damaged', { structure: 'folder', inode: `${inode}`, reason });
}
