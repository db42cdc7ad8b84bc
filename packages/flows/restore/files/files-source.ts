/**
 * The contract of what files are restored from: a recovery point of files, or a file system on a
 * volume. `Node` is what the source knows of a name; others see its metadata only.
 */
import type { FileMetadata } from '@coffer/base';
import type { FolderMetadata } from '@coffer/workloads/files/target-metadata.ts';
import type { RestoreRun } from './restore-run.ts';
import type { FileJob } from './target-file.ts';

export interface FilesSource<Node extends FileMetadata = FileMetadata> {
  /** What is asked for: a folder with all that is in it, or one thing alone. */
  readonly wanted: Node;
  /** True where whoever made it must not get rights on this host by it (`privileges.ts`). */
  readonly isForeign: boolean;
  /** What the folder that is restored into gets; undefined when `wanted` is no folder. */
  readonly rootMetadata: FolderMetadata | undefined;

  /**
   * Begins a walk over the folders. A folder that cannot be read to its end gives what can be read,
   * and then fails.
   */
  walk(): FolderWalk<Node>;

  /** Begins to write contents of files. */
  contents(run: RestoreRun): FileContents<Node>;

  /** In what an open file differs from the content of `file`; undefined when it does not. */
  difference(file: Node, fd: number): Promise<string | undefined>;

  close(): Promise<void>;
}

export interface FolderWalk<Node extends FileMetadata = FileMetadata> {
  /** The names in the next folder, which is `depth` levels below where the walk began. */
  entries(folder: Node, depth: number): AsyncIterable<Node>;
}

export interface FileContents<Node extends FileMetadata = FileMetadata> {
  /** True for a file that is written together with others, where nothing of its name is there. */
  isBatched(entry: FileMetadata): boolean;

  /**
   * Has a file written, and waits while too many are under way. `stored` is resolved when the file
   * is there, and also when it became a finding.
   */
  write(job: FileJob<Node>): Promise<{ readonly stored: Promise<void> }>;

  /** The same, without waiting for others to be written with it. */
  writeAlone(job: FileJob<Node>): Promise<{ readonly stored: Promise<void> }>;

  /** Begins to write what it has kept back so far. */
  flush(): Promise<void>;
}
