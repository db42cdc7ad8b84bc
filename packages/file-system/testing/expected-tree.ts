/** What a file system has to hold, as a description: written in a test, or read from a folder. */
import {
  closeSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
} from 'node:fs';
import type { FileType } from '@coffer/base';
import { getAttribute, listAttributes } from '@coffer/base/libc.ts';

/** The content of a file, read piece by piece, since it may be large and sparse. */
export interface ExpectedContent {
  readonly sizeBytes: number;
  read(offset: number, length: number): Buffer;
}

/** What is not said is not compared. */
export interface ExpectedNode {
  readonly type: FileType;
  readonly mode?: number;
  readonly userId?: number;
  readonly groupId?: number;
  readonly modifiedNs?: bigint;
  readonly content?: ExpectedContent;
  readonly linkTarget?: Buffer;
  readonly deviceNumber?: bigint;
  /** By name. Attributes that are not named here must not be there. */
  readonly attributes?: Readonly<Record<string, Buffer>>;
  /** Nodes with the same text are names of one file; undefined means that it has one name. */
  readonly hardLink?: string | undefined;
}

/** All nodes by path (`a/b`), the root (`''`) among them; names as `nameKey` gives them. */
export type ExpectedTree = Readonly<Record<string, ExpectedNode>>;

/** A name as text: itself where it is UTF-8, with `\xff` for its bytes where it is not. */
export function nameKey(name: Buffer): string {
  const text = name.toString('utf8');
  if (Buffer.from(text, 'utf8').equals(name)) return text;
  return [...name].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
}

export function bytesContent(bytes: Buffer | string): ExpectedContent {
  const content = Buffer.from(bytes);
  return {
    sizeBytes: content.length,
    read: (offset, length) => content.subarray(offset, offset + length),
  };
}

/** A file with this content; everything else is not compared. */
export function expectedFile(bytes: Buffer | string): ExpectedNode {
  return { type: 'file', content: bytesContent(bytes) };
}

/** What of a folder on this host is put into the description. */
export interface DescribeOptions {
  /** False for file systems that have no such thing, or where the tool that copies loses it. */
  readonly attributes?: boolean;
  readonly modes?: boolean;
  readonly times?: boolean;
  readonly hardLinks?: boolean;
  /** False leaves out the root's own metadata, which tools often do not copy. */
  readonly root?: boolean;
}

/** Describes a folder of this host with all that is in it. */
export function describeFolder(folder: string, options: DescribeOptions = {}): ExpectedTree {
  const tree: Record<string, ExpectedNode> = {};
  const rest = [{ path: '', hostPath: Buffer.from(folder) }];
  for (let next = rest.pop(); next; next = rest.pop()) {
    const { path, hostPath } = next;
    const node = describe(hostPath, options);
    tree[path] = path === '' && options.root === false ? { type: 'directory' } : node;
    if (node.type !== 'directory') continue;
    for (const name of readdirSync(hostPath, { encoding: 'buffer' })) {
      const key = path === '' ? nameKey(name) : `${path}/${nameKey(name)}`;
      rest.push({ path: key, hostPath: Buffer.concat([hostPath, Buffer.from('/'), name]) });
    }
  }
  return tree;
}

function describe(path: Buffer, options: DescribeOptions): ExpectedNode {
  const stats = lstatSync(path, { bigint: true });
  const type = typeOfMode(Number(stats.mode));
  const isDevice = type === 'character-device' || type === 'block-device';
  const isShared = stats.nlink > 1n && type !== 'directory';
  return {
    type,
    ...(options.modes !== false && {
      mode: Number(stats.mode & 0o7777n),
      userId: Number(stats.uid),
      groupId: Number(stats.gid),
    }),
    ...(options.times !== false && { modifiedNs: stats.mtimeNs }),
    ...(type === 'file' && { content: hostContent(path, Number(stats.size)) }),
    ...(type === 'symlink' && { linkTarget: readlinkSync(path, { encoding: 'buffer' }) }),
    ...(isDevice && { deviceNumber: stats.rdev }),
    ...(options.attributes !== false && { attributes: attributesOf(path) }),
    ...(options.hardLinks !== false && { hardLink: isShared ? String(stats.ino) : undefined }),
  };
}

const TYPES: Readonly<Record<number, FileType>> = {
  0o14: 'socket',
  0o12: 'symlink',
  0o10: 'file',
  0o06: 'block-device',
  0o04: 'directory',
  0o02: 'character-device',
  0o01: 'fifo',
};

function typeOfMode(mode: number): FileType {
  return TYPES[mode >> 12] ?? 'file';
}

/** Small files are kept, so that they may be removed before they are compared. */
const KEPT_BYTES_MAX = 1024 * 1024;

function hostContent(path: Buffer, sizeBytes: number): ExpectedContent {
  if (sizeBytes <= KEPT_BYTES_MAX) return bytesContent(readFileSync(path));
  return {
    sizeBytes,
    read(offset, length) {
      const bytes = Buffer.alloc(length);
      const fd = openSync(path, 'r');
      try {
        return bytes.subarray(0, readSync(fd, bytes, 0, length, offset));
      } finally {
        closeSync(fd);
      }
    },
  };
}

function attributesOf(path: Buffer): Record<string, Buffer> {
  const found: Record<string, Buffer> = {};
  for (const name of listAttributes(path)) {
    const value = getAttribute(path, name);
    if (value) found[name.toString('latin1')] = value;
  }
  return found;
}
