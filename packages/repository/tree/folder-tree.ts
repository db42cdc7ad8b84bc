/** Writing and reading of whole folders, large ones in pages. */
import { CofferError, type FileEntry, mapAhead, required } from '@coffer/base';
import type { ChunkId } from '../chunk/chunk-id.ts';
import type { WriteNode } from './disk-tree.ts';
import {
  decodeFolder,
  type EncodedNode,
  encodePage,
  encodePages,
  type FolderNode,
  type FolderPart,
} from './folder-codec.ts';
import type { NodeReader } from './node-reader.ts';

const PAGE_ENTRIES_MIN = 256;
const PAGE_ENTRIES_MAX = 2048;
const PAGE_MASK = 0x1ff;
/** Names, links and attributes can be long; a node must stay far below the limit of a record. */
const TEXT_BYTES_MAX = 1024 * 1024;
/** Of a node over pages, which names the first entry of each. */
const PARTS_MAX = 32_768;
/** Nodes over nodes over pages: more names than any folder holds. */
const LEVELS_MAX = 4;
/** Pages and folders fetched ahead of their use. */
const FOLDERS_AHEAD = 16;

/** Stores a folder; the entries are in the order of their names' bytes. Returns its root. */
export async function writeFolder(
  entries: readonly FileEntry[],
  writeNode: WriteNode,
): Promise<ChunkId> {
  if (entries.length === 0) return await writeEncoded(encodePage([]), writeNode);
  let parts: FolderPart[] = [];
  for (const page of cutPages(entries)) {
    const firstName = required(page[0], 'a page has entries').name;
    parts.push({ id: await writeEncoded(encodePage(page), writeNode), firstName });
  }
  while (parts.length > 1) parts = await writeLevel(parts, writeNode);
  return required(parts[0], 'a folder has a page').id;
}

async function writeLevel(
  parts: readonly FolderPart[],
  writeNode: WriteNode,
): Promise<FolderPart[]> {
  const above: FolderPart[] = [];
  for (const group of cutParts(parts)) {
    const { firstName } = required(group[0], 'a node has parts');
    above.push({ id: await writeEncoded(encodePages(group), writeNode), firstName });
  }
  return above;
}

async function writeEncoded(node: EncodedNode, writeNode: WriteNode): Promise<ChunkId> {
  return await writeNode(node.children, node.body);
}

/** The entries of a folder, in the order of their names. */
export async function* readFolder(reader: NodeReader, id: ChunkId): AsyncGenerator<FileEntry> {
  yield* entriesUnder(reader, decodeFolder(await reader.readNode(id), id), LEVELS_MAX);
}

async function* entriesUnder(
  reader: NodeReader,
  folder: FolderNode,
  levelsLeft: number,
): AsyncGenerator<FileEntry> {
  if (folder.form === 'page') {
    yield* folder.entries;
    return;
  }
  const parts = mapAhead(folder.parts, FOLDERS_AHEAD, (part) => readPart(reader, part, levelsLeft));
  for await (const part of parts) yield* entriesUnder(reader, part, levelsLeft - 1);
}

/** All entries of a folder at once: for folders that are compared by name. */
export async function readFolderWhole(reader: NodeReader, id: ChunkId): Promise<FileEntry[]> {
  const entries: FileEntry[] = [];
  for await (const entry of readFolder(reader, id)) entries.push(entry);
  return entries;
}

/** The entry of that name, reading one page only. */
export async function findInFolder(
  reader: NodeReader,
  id: ChunkId,
  name: Buffer,
): Promise<FileEntry | undefined> {
  let folder = decodeFolder(await reader.readNode(id), id);
  for (let levelsLeft = LEVELS_MAX; folder.form === 'pages'; levelsLeft--) {
    const part = folder.parts.findLast(({ firstName }) => Buffer.compare(firstName, name) <= 0);
    if (!part) return undefined;
    folder = await readPart(reader, part, levelsLeft);
  }
  return folder.entries.find((entry) => entry.name.equals(name));
}

/** A part of a folder begins with the name that the node above it says. */
async function readPart(
  reader: NodeReader,
  { id, firstName }: FolderPart,
  levelsLeft: number,
): Promise<FolderNode> {
  const damaged = (reason: string): CofferError =>
    new CofferError('object-damaged', { what: `folder ${id.toString('hex')}`, reason });
  if (levelsLeft === 0) throw damaged('depth');
  const part = decodeFolder(await reader.readNode(id), id);
  const first = part.form === 'page' ? part.entries[0]?.name : part.parts[0]?.firstName;
  if (!first?.equals(firstName)) throw damaged('it begins with another name');
  return part;
}

/** Pages end where names say, so that a new name changes one page only. */
function* cutPages(entries: readonly FileEntry[]): Generator<FileEntry[]> {
  let page: FileEntry[] = [];
  let textBytes = 0;
  for (const entry of entries) {
    page.push(entry);
    textBytes += textBytesOf(entry);
    if (!endsPage(page, entry.name) && textBytes < TEXT_BYTES_MAX) continue;
    yield page;
    page = [];
    textBytes = 0;
  }
  if (page.length > 0) yield page;
}

function textBytesOf({ name, linkTarget, extendedAttributes }: FileEntry): number {
  const attributes = extendedAttributes.reduce(
    (sum, attribute) => sum + attribute.name.length + attribute.value.length,
    0,
  );
  return name.length + (linkTarget?.length ?? 0) + attributes;
}

function* cutParts(parts: readonly FolderPart[]): Generator<FolderPart[]> {
  let group: FolderPart[] = [];
  let nameBytes = 0;
  for (const part of parts) {
    group.push(part);
    nameBytes += part.firstName.length;
    if (group.length < PARTS_MAX && nameBytes < TEXT_BYTES_MAX) continue;
    yield group;
    group = [];
    nameBytes = 0;
  }
  if (group.length > 0) yield group;
}

function endsPage(page: readonly FileEntry[], name: Buffer): boolean {
  if (page.length < PAGE_ENTRIES_MIN) return false;
  return page.length >= PAGE_ENTRIES_MAX || (nameHash(name) & PAGE_MASK) === 0;
}

/** FNV-1a: only its spread matters. */
function nameHash(name: Buffer): number {
  let hash = 0x811c9dc5;
  for (const byte of name) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash ^ (hash >>> 15);
}
