/** One name in a folder, as it is protected: what workloads find, and what trees store. */

export const FILE_TYPES = [
  'file',
  'directory',
  'symlink',
  'fifo',
  'socket',
  'character-device',
  'block-device',
] as const;

export type FileType = (typeof FILE_TYPES)[number];

export interface ExtendedAttribute {
  readonly name: Buffer;
  readonly value: Buffer;
}

export interface FileMetadata {
  /** Bytes as the file system has them; they need not be UTF-8. */
  readonly name: Buffer;
  readonly type: FileType;
  /** Permission bits, with set-user-id, set-group-id and sticky. */
  readonly mode: number;
  readonly userId: number;
  readonly groupId: number;
  /** Nanoseconds since 1970; the seconds in it are any that 64 bits can count. */
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
  readonly inode: bigint;
  /** Bytes of a file; 0 for everything else. */
  readonly sizeBytes: number;
  /** Names of one file share it: the device and inode that they had. Only where there are several. */
  readonly hardLink: { readonly device: bigint; readonly inode: bigint } | undefined;
  /** Where a symbolic link leads. */
  readonly linkTarget: Buffer | undefined;
  /** Number of a device node. */
  readonly deviceNumber: bigint | undefined;
  /** ACLs and capabilities among them, sorted by name. */
  readonly extendedAttributes: readonly ExtendedAttribute[];
}

/** A piece of a file: a chunk, or a run of zeroes (the zero id) of any length. */
export interface ContentPiece {
  readonly id: Buffer;
  readonly length: number;
}

/** The content of a file: its pieces, or for many of them the node that lists them. */
export type FileContent =
  | { readonly form: 'pieces'; readonly pieces: readonly ContentPiece[] }
  | { readonly form: 'tree'; readonly root: Buffer };

/** A name in a folder of a recovery point. */
export interface FileEntry extends FileMetadata {
  /** Of a file. */
  readonly content: FileContent | undefined;
  /** Of a directory: the root node of its entries. */
  readonly folder: Buffer | undefined;
}

/**
 * Bytes of the longest name: no path that a kernel takes holds a longer one. Most file systems end
 * at 255, but NTFS counts 255 characters of up to three bytes, and others count as they like.
 */
export const FILE_NAME_SIZE_MAX = 4095;

/** True for a name that a folder can have: no path, nothing that leads elsewhere. */
export function isFileName(name: Buffer): boolean {
  if (name.length === 0 || name.length > FILE_NAME_SIZE_MAX) return false;
  if (name.includes(0x2f) || name.includes(0)) return false;
  return !(name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e)));
}
