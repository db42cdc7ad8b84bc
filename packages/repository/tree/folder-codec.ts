/**
 * Folders: pages of entries in the order of their names, and for large folders a node over the
 * pages. Ids that entries refer to are the children of the page, in order. FORMAT.md, section 11.3.
 */
import {
  assert,
  BinaryReader,
  BinaryWriter,
  type ContentPiece,
  type ExtendedAttribute,
  FILE_NAME_SIZE_MAX,
  FILE_TYPES,
  type FileContent,
  type FileEntry,
  isFileName,
  required,
} from '@coffer/base';
import type { ChunkId } from '../chunk/chunk-id.ts';
import type { Node } from './node-reader.ts';
import { PIECES_INLINE_MAX } from './content-tree.ts';
import {
  ATTRIBUTE_NAME_SIZE_MAX,
  ATTRIBUTE_VALUE_SIZE_MAX,
  LINK_TARGET_SIZE_MAX,
  splitTime,
  unstorableEntry,
} from './entry-limits.ts';

const PAGE = 1;
const PAGES = 2;

const FLAG_HARD_LINK = 1;
const FLAG_ATTRIBUTES = 2;
const FLAG_CONTENT_TREE = 4;
const FLAGS_ALL = FLAG_HARD_LINK | FLAG_ATTRIBUTES | FLAG_CONTENT_TREE;

/** The least that an entry takes: type, flags, name, owners and mode, times and inode. */
const ENTRY_SIZE_MIN = 39;
const SECOND_NS = 1_000_000_000n;

/** What a page is made of: sealed body, clear children. */
export interface EncodedNode {
  readonly children: ChunkId[];
  readonly body: Buffer;
}

/** What nobody could read again breaks an invariant: whoever finds entries leaves it out. */
export function encodePage(entries: readonly FileEntry[]): EncodedNode {
  const writer = new BinaryWriter(64 + entries.length * 96).u8(PAGE).varint(entries.length);
  const children: ChunkId[] = [];
  for (const [index, entry] of entries.entries()) {
    const problem = unstorableEntry(entry) ?? disorder(entries[index - 1], entry);
    assert(problem === undefined, `a folder holds what can be read again, not ${problem}`);
    writeEntry(writer, children, entry);
  }
  return { children, body: writer.finish() };
}

function disorder(before: FileEntry | undefined, after: FileEntry): string | undefined {
  const isAfter = !before || Buffer.compare(before.name, after.name) < 0;
  return isAfter ? undefined : 'names in disorder';
}

/** A page of a folder, or a node over pages, and the name of its first entry. */
export interface FolderPart {
  readonly id: ChunkId;
  readonly firstName: Buffer;
}

/** The node over the parts of a large folder. */
export function encodePages(parts: readonly FolderPart[]): EncodedNode {
  const writer = new BinaryWriter(64 + parts.length * 32).u8(PAGES);
  for (const { firstName } of parts) {
    assert(isFileName(firstName), 'the first entry of a page has a name');
    writer.bytes(firstName);
  }
  return { children: parts.map(({ id }) => id), body: writer.finish() };
}

export type FolderNode =
  | { readonly form: 'page'; readonly entries: FileEntry[] }
  | { readonly form: 'pages'; readonly parts: readonly FolderPart[] };

/** Fails with `object-damaged` when the node is no folder, or names what no folder can hold. */
export function decodeFolder(node: Node, id: ChunkId): FolderNode {
  const reader = new BinaryReader(node.body, `folder ${id.toString('hex')}`);
  const form = reader.u8();
  if (form === PAGE) return { form: 'page', entries: readPage(reader, node.children) };
  if (form !== PAGES) throw reader.damaged('not a folder');
  const parts = node.children.map((child) => ({ id: child, firstName: readFirstName(reader) }));
  reader.end();
  return { form: 'pages', parts };
}

function readFirstName(reader: BinaryReader): Buffer {
  const name = reader.bytes(FILE_NAME_SIZE_MAX);
  if (!isFileName(name)) throw reader.damaged('a page without a first name');
  return name;
}

function readPage(reader: BinaryReader, children: readonly ChunkId[]): FileEntry[] {
  const next = { index: 0 };
  const takeChild = (): ChunkId => {
    const child = children[next.index++];
    if (!child) throw reader.damaged('it refers to more children than it has');
    return child;
  };
  const entries: FileEntry[] = [];
  for (let left = reader.count(ENTRY_SIZE_MIN); left > 0; left--) {
    const entry = readEntry(reader, takeChild);
    const problem = unstorableEntry(entry) ?? disorder(entries.at(-1), entry);
    if (problem !== undefined) throw reader.damaged(problem);
    entries.push(entry);
  }
  reader.end();
  if (next.index < children.length) throw reader.damaged('it has children that it does not need');
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
  writeTime(writer, entry.modifiedNs);
  writeTime(writer, entry.changedNs);
  writer.u64(entry.inode);
  if (entry.hardLink) writer.u64(entry.hardLink.device).u64(entry.hardLink.inode);
  if (flags & FLAG_ATTRIBUTES) writeAttributes(writer, entry.extendedAttributes);
  switch (entry.type) {
    case 'file':
      writer.varint(entry.sizeBytes);
      writeContent(writer, children, required(content, 'a file has content'));
      break;
    case 'directory':
      children.push(required(entry.folder, 'a directory has a folder'));
      break;
    case 'symlink':
      writer.bytes(required(entry.linkTarget, 'a link leads somewhere'));
      break;
    case 'character-device':
    case 'block-device':
      writer.u64(required(entry.deviceNumber, 'a device has a number'));
      break;
    case 'fifo':
    case 'socket':
      break;
  }
}

function writeTime(writer: BinaryWriter, timeNs: bigint): void {
  const { seconds, ns } = splitTime(timeNs);
  writer.i64(seconds).u32(ns);
}

function readTime(reader: BinaryReader): bigint {
  const seconds = reader.i64();
  const ns = reader.u32();
  if (ns >= 1e9) throw reader.damaged('an impossible time');
  return seconds * SECOND_NS + BigInt(ns);
}

function readEntry(reader: BinaryReader, takeChild: () => ChunkId): FileEntry {
  const type = FILE_TYPES[reader.u8()];
  if (type === undefined) throw reader.damaged('an entry of unknown type');
  const flags = reader.u8();
  if (flags > FLAGS_ALL) throw reader.damaged('an entry of unknown flags');
  const name = reader.bytes(FILE_NAME_SIZE_MAX);
  const mode = reader.varint();
  const userId = reader.varint();
  const groupId = reader.varint();
  const modifiedNs = readTime(reader);
  const changedNs = readTime(reader);
  const inode = reader.u64();
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
    deviceNumber: isDevice ? reader.u64() : undefined,
  };
}

function readHardLink(reader: BinaryReader): { device: bigint; inode: bigint } {
  const device = reader.u64();
  return { device, inode: reader.u64() };
}

function writeAttributes(writer: BinaryWriter, attributes: readonly ExtendedAttribute[]): void {
  writer.varint(attributes.length);
  for (const { name, value } of attributes) writer.bytes(name).bytes(value);
}

function readAttributes(reader: BinaryReader): ExtendedAttribute[] {
  const attributes: ExtendedAttribute[] = [];
  for (let left = reader.count(2); left > 0; left--) {
    const name = reader.bytes(ATTRIBUTE_NAME_SIZE_MAX);
    attributes.push({ name, value: reader.bytes(ATTRIBUTE_VALUE_SIZE_MAX) });
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
