/**
 * The contract of a file system that is read: one on a volume of a disk, or a recovery point of
 * files. Listing, restoring and mounting work on this contract only.
 *
 * Whoever made the bytes may be hostile: a reader bounds every length and every walk, never loops,
 * and fails with `file-system-damaged`, saying which structure at which offset of the volume.
 */
import type { FileMetadata } from '@coffer/base';

/** `Node` is what the file system knows of a name; others see its metadata only. */
export interface FileSystem<Node extends FileMetadata = FileMetadata> {
  /** The root folder; its name is empty. */
  readonly root: Node;

  /** The names in a folder, without `.` and `..`, in the order of the file system. */
  entries(folder: Node): AsyncIterable<Node>;

  /** Undefined when the folder has no such name. */
  find(folder: Node, name: Buffer): Promise<Node | undefined>;

  /**
   * Reads from a file into `target`, and returns how many bytes there were: fewer than asked for
   * only at the end of the file. Several reads may run at once.
   */
  read(file: Node, offset: number, target: Uint8Array): Promise<number>;

  close(): Promise<void>;
}
