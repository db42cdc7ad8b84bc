/** The names at a path of a file system: of a folder what is in it, of all else itself. */
import { CofferError, type FileMetadata } from '@coffer/base';
import { bytesOfText } from '@coffer/base/path-text.ts';
import type { FileSystem } from '@coffer/file-system/file-system.ts';
import { depthFirst } from '../depth-first.ts';

export interface ListedName<Node extends FileMetadata> {
  readonly node: Node;
  /** From the root of the file system, without a leading slash. */
  readonly relative: Buffer;
}

export interface ListOptions {
  /** Empty for the root. */
  readonly path: string;
  /** Also what is in the folders below. */
  readonly recursive: boolean;
}

/** A hostile file system may nest without end; one that people have made is never as deep. */
export const FOLDER_DEPTH_MAX = 65_536;

/** Fails with `path-not-found`. Links are not followed. */
export async function findNode<Node extends FileMetadata>(
  fileSystem: FileSystem<Node>,
  path: string,
): Promise<ListedName<Node>> {
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  let node = fileSystem.root;
  for (const name of names) {
    const found = node.type === 'directory' && (await fileSystem.find(node, bytesOfText(name)));
    if (!found) throw new CofferError('path-not-found', { path });
    node = found;
  }
  return { node, relative: bytesOfText(names.join('/')) };
}

/** Fails with `path-not-found`, or `image-damaged` for what nests without end. */
export async function* listPath<Node extends FileMetadata>(
  fileSystem: FileSystem<Node>,
  { path, recursive }: ListOptions,
): AsyncGenerator<ListedName<Node>> {
  const found = await findNode(fileSystem, path);
  if (found.node.type !== 'directory') yield found;
  else if (!recursive) yield* listFolder(fileSystem, found);
  else yield* listAll(fileSystem, found);
}

function listAll<Node extends FileMetadata>(
  fileSystem: FileSystem<Node>,
  found: ListedName<Node>,
): AsyncGenerator<ListedName<Node>> {
  return depthFirst(listFolder(fileSystem, found), (listed, depth) => {
    if (depth > FOLDER_DEPTH_MAX) {
      throw new CofferError('image-damaged', { reason: 'folders are in one another without end' });
    }
    return listed.node.type === 'directory' ? listFolder(fileSystem, listed) : undefined;
  });
}

async function* listFolder<Node extends FileMetadata>(
  fileSystem: FileSystem<Node>,
  { node, relative }: ListedName<Node>,
): AsyncGenerator<ListedName<Node>> {
  for await (const entry of fileSystem.entries(node)) {
    const path = relative.length === 0 ? entry.name : joined(relative, entry.name);
    yield { node: entry, relative: path };
  }
}

function joined(folder: Buffer, name: Buffer): Buffer {
  return Buffer.concat([folder, Buffer.from('/'), name]);
}
