/**
 * Folders: pages of entries in the order of their names, and for large folders a node over the
 * pages. Ids that entries refer to are the children of the page, in order. FORMAT.md, section 11.3.
 */
import {
  BinaryReader,
  BinaryWriter,
  type ContentPiece,
  type ExtendedAttribute,
  FILE_TYPES,
  type FileContent,
  type FileEntry,
  isFileName,
} from '@coffer/base';
import type { ChunkId } from '../chunk/chunk-id.ts';
import type { Node } from '../chunk/chunk-reader.ts';
import { PIECES_INLINE_MAX } from './content-tree.ts';

const PAGE = 1;
const PAGES = 2;

const FLAG_HARD_LINK = 1;
const FLAG_ATTRIBUTES = 2;
const FLAG_CONTENT_TREE = 4;

const NAME_SIZE_MAX = 255;
const LINK_TARGET_SIZE_MAX = 4096;
const ATTRIBUTE_SIZE_MAX = 64 * 1024;

/** What a page is made of: sealed body, clear children. */
export interface EncodedNode {
  readonly children: ChunkId[];
  readonly body: Buffer;
}

export function encodePage(entries: readonly FileEntry[]): EncodedNode {
  const writer = new BinaryWriter(64 + entries.length * 96).u8(PAGE).varint(entries.length);
  const children: ChunkId[] = [];
  for (const entry of entries) writeEntry(writer, children, entry);
  return { children, body: writer.finish() };
}

/** The node over the pages of a large folder; `firstNames` are those of the pages' first entries. */
export function encodePages(pages: readonly ChunkId[], firstNames: readonly Buffer[]): EncodedNode {
  const writer = new BinaryWriter(64 + pages.length * 32).u8(PAGES);
  for (const name of firstNames) writer.bytes(name);
  return { children: [...pages], body: writer.finish() };
}

export type FolderNode =
  | { readonly form: 'page'; readonly entries: FileEntry[] }
  | { readonly form: 'pages'; readonly pages: readonly ChunkId[]; readonly firstNames: Buffer[] };

/** Fails with `object-damaged` when the node is no folder, or names what no folder can hold. */
export function decodeFolder(node: Node, id: ChunkId): FolderNode {
  const reader = new BinaryReader(node.body, `folder ${id.toString('hex')}`);
  const form = reader.u8();
  if (form === PAGE) return { form: 'page', entries: readPage(reader, node.children) };
  if (form !== PAGES) throw reader.damaged('not a folder');
  const firstNames = node.children.map(() => reader.bytes(NAME_SIZE_MAX));
  reader.end();
  return { form: 'pages', pages: node.children, firstNames };
}

function readPage(reader: BinaryReader, children: readonly ChunkId[]): FileEntry[] {
  const next = { index: 0 };
  const takeChild = (): ChunkId => {
    const child = children[next.index++];
    if (!child) throw reader.damaged('it refers to more children than it has');
    return child;
  };
  const entries: FileEntry[] = [];
  for (let left = reader.count(30); left > 0; left--) {
    const entry = readEntry(reader, takeChild);
    const last = entries.at(-1);
    if (last && Buffer.compare(last.name, entry.name) >= 0)
      throw reader.damaged('names in disorder');
    entries.push(entry);
  }
  reader.end();
  return entries;
}

function writeEntry(writer: BinaryWriter, children: ChunkId[], entry: FileEntry): void {
  const { content } = entry;
  const flags =
    (entry.hardLink ? FLAG_HARD_LINK : 0) |
    (entry.extendedAttributes.length > 0 ? FLAG_ATTRIBUTES : 0) |
    (content?.form === 'tree' ? FLAG_CONTENT_TREE : 0);
  writer.u8(FILE_TYPES.indexOf(entry.type)).u8(flags).bytes(entry.name);
  writer.varint(entry.mode).varint(entry.userId).varint(entry.groupId);
  writer.i64(entry.modifiedNs).i64(entry.changedNs).i64(BigInt.asIntN(64, entry.inode));
  if (entry.hardLink) {
    writer.i64(BigInt.asIntN(64, entry.hardLink.device));
    writer.i64(BigInt.asIntN(64, entry.hardLink.inode));
  }
  if (flags & FLAG_ATTRIBUTES) writeAttributes(writer, entry.extendedAttributes);
  switch (entry.type) {
    case 'file':
      writer.varint(entry.sizeBytes);
      if (content) writeContent(writer, children, content);
      else writer.varint(0);
      break;
    case 'directory':
      if (entry.folder) children.push(entry.folder);
      break;
    case 'symlink':
      writer.bytes(entry.linkTarget ?? Buffer.alloc(0));
      break;
    case 'character-device':
    case 'block-device':
      writer.i64(BigInt.asIntN(64, entry.deviceNumber ?? 0n));
      break;
    case 'fifo':
    case 'socket':
      break;
  }
}

function readEntry(reader: BinaryReader, takeChild: () => ChunkId): FileEntry {
  const type = FILE_TYPES[reader.u8()];
  if (type === undefined) throw reader.damaged('an entry of unknown type');
  const flags = reader.u8();
  const name = reader.bytes(NAME_SIZE_MAX);
  if (!isFileName(name)) throw reader.damaged('a name that no folder can have');
  const mode = reader.varint();
  if (mode > 0o7777) throw reader.damaged('an impossible mode');
  const userId = reader.varint();
  const groupId = reader.varint();
  const modifiedNs = reader.i64();
  const changedNs = reader.i64();
  const inode = BigInt.asUintN(64, reader.i64());
  const hardLink = flags & FLAG_HARD_LINK ? readHardLink(reader) : undefined;
  const extendedAttributes = flags & FLAG_ATTRIBUTES ? readAttributes(reader) : [];
  const sizeBytes = type === 'file' ? reader.varint() : 0;
  const isTree = (flags & FLAG_CONTENT_TREE) !== 0;
  const isDevice = type === 'character-device' || type === 'block-device';
  return {
    name,
    type,
    mode,
    userId,
    groupId,
    modifiedNs,
    changedNs,
    inode,
    hardLink,
    extendedAttributes,
    sizeBytes,
    content: type === 'file' ? readContent(reader, isTree, takeChild) : undefined,
    folder: type === 'directory' ? takeChild() : undefined,
    linkTarget: type === 'symlink' ? reader.bytes(LINK_TARGET_SIZE_MAX) : undefined,
    deviceNumber: isDevice ? BigInt.asUintN(64, reader.i64()) : undefined,
  };
}

function readHardLink(reader: BinaryReader): { device: bigint; inode: bigint } {
  const device = BigInt.asUintN(64, reader.i64());
  return { device, inode: BigInt.asUintN(64, reader.i64()) };
}

function writeAttributes(writer: BinaryWriter, attributes: readonly ExtendedAttribute[]): void {
  writer.varint(attributes.length);
  for (const { name, value } of attributes) writer.bytes(name).bytes(value);
}

function readAttributes(reader: BinaryReader): ExtendedAttribute[] {
  const attributes: ExtendedAttribute[] = [];
  for (let left = reader.count(2); left > 0; left--) {
    const name = reader.bytes(NAME_SIZE_MAX);
    attributes.push({ name, value: reader.bytes(ATTRIBUTE_SIZE_MAX) });
  }
  return attributes;
}

function writeContent(writer: BinaryWriter, children: ChunkId[], content: FileContent): void {
  if (content.form === 'tree') {
    children.push(content.root);
    return;
  }
  writer.varint(content.pieces.length);
  for (const { id, length } of content.pieces) {
    writer.varint(length);
    children.push(id);
  }
}

function readContent(reader: BinaryReader, isTree: boolean, takeChild: () => ChunkId): FileContent {
  if (isTree) return { form: 'tree', root: takeChild() };
  const pieceCount = reader.varint();
  if (pieceCount > PIECES_INLINE_MAX) throw reader.damaged('too many pieces');
  const pieces: ContentPiece[] = [];
  for (let left = pieceCount; left > 0; left--) {
    const length = reader.varint();
    pieces.push({ id: takeChild(), length });
  }
  return { form: 'pieces', pieces };
}
