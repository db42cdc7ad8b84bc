/** A file system in memory, built from a description; it can be told to fail. */
import { CofferError, type FileMetadata } from '@coffer/base';
import type { FileSystem } from '../../file-system.ts';

export interface MemoryNode extends FileMetadata {
  readonly content: Buffer;
  readonly children: readonly MemoryNode[];
  /** Reading it, or listing it, fails. */
  readonly isBroken: boolean;
}

let nextInode = 1n;

export function memoryNode(name: string | Buffer, parts: Partial<MemoryNode> = {}): MemoryNode {
  const type = parts.type ?? (parts.children ? 'directory' : 'file');
  return {
    name: Buffer.from(name),
    type,
    mode: type === 'directory' ? 0o755 : 0o644,
    userId: process.getuid?.() ?? 0,
    groupId: process.getgid?.() ?? 0,
    modifiedNs: 1_600_000_000_123_456_789n,
    changedNs: 1_600_000_001_000_000_001n,
    inode: nextInode++,
    sizeBytes: parts.content?.length ?? 0,
    hardLink: undefined,
    linkTarget: undefined,
    deviceNumber: undefined,
    extendedAttributes: [],
    content: Buffer.alloc(0),
    children: [],
    isBroken: false,
    ...parts,
  };
}

export function memoryFileSystem(children: readonly MemoryNode[]): FileSystem<MemoryNode> {
  return {
    root: memoryNode('', { children }),
    async *entries(folder) {
      check(folder);
      yield* folder.children;
    },
    find: async (folder, name) => folder.children.find((child) => child.name.equals(name)),
    read: async (file, offset, target) => {
      check(file);
      return file.content.copy(target, 0, offset, Math.min(file.sizeBytes, offset + target.length));
    },
    close: async () => {},
  };
}

function check({ isBroken, name }: MemoryNode): void {
  if (!isBroken) return;
  throw new CofferError('file-system-damaged', { structure: name.toString(), offset: 0 });
}
