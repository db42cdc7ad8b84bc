/** Writing and reading of whole folders, large ones in pages. */
import { CofferError, type FileEntry, mapAhead } from '@coffer/base';
import type { ChunkId } from '../chunk/chunk-id.ts';
import type { ChunkReader } from '../chunk/chunk-reader.ts';
import type { WriteNode } from './disk-tree.ts';
import { decodeFolder, encodePage, encodePages } from './folder-codec.ts';

const PAGE_ENTRIES_MIN = 256;
const PAGE_ENTRIES_MAX = 2048;
const PAGE_MASK = 0x1ff;
/** Extended attributes can be large; a page must stay far below the limit of a record. */
const PAGE_ATTRIBUTE_BYTES_MAX = 1024 * 1024;
/** Pages and folders fetched ahead of their use. */
const FOLDERS_AHEAD = 16;

/** Stores a folder; the entries are in the order of their names' bytes. Returns its root. */
export async function writeFolder(
  entries: readonly FileEntry[],
  writeNode: WriteNode,
): Promise<ChunkId> {
  const pages: ChunkId[] = [];
  const firstNames: Buffer[] = [];
  for (const page of cutPages(entries)) {
    const { children, body } = encodePage(page);
    pages.push(await writeNode(children, body));
    firstNames.push(page[0]?.name ?? Buffer.alloc(0));
  }
  if (pages.length === 1) return pages[0]!;
  const { children, body } = encodePages(pages, firstNames);
  return await writeNode(children, body);
}

/** The entries of a folder, in the order of their names. */
export async function* readFolder(reader: ChunkReader, id: ChunkId): AsyncGenerator<FileEntry> {
  const folder = decodeFolder(await reader.readNode(id), id);
  if (folder.form === 'page') {
    yield* folder.entries;
    return;
  }
  const pages = mapAhead(folder.pages, FOLDERS_AHEAD, async (page) => await readPage(reader, page));
  for await (const entries of pages) yield* entries;
}

/** All entries of a folder at once: for folders that are compared by name. */
export async function readFolderWhole(reader: ChunkReader, id: ChunkId): Promise<FileEntry[]> {
  const entries: FileEntry[] = [];
  for await (const entry of readFolder(reader, id)) entries.push(entry);
  return entries;
}

/** The entry of that name, reading one page only. */
export async function findInFolder(
  reader: ChunkReader,
  id: ChunkId,
  name: Buffer,
): Promise<FileEntry | undefined> {
  const folder = decodeFolder(await reader.readNode(id), id);
  if (folder.form === 'page') return folder.entries.find((entry) => entry.name.equals(name));
  const after = folder.firstNames.findIndex((first) => Buffer.compare(first, name) > 0);
  const page = folder.pages[(after < 0 ? folder.pages.length : after) - 1];
  if (!page) return undefined;
  return (await readPage(reader, page)).find((entry) => entry.name.equals(name));
}

async function readPage(reader: ChunkReader, id: ChunkId): Promise<FileEntry[]> {
  const page = decodeFolder(await reader.readNode(id), id);
  if (page.form === 'page') return page.entries;
  throw new CofferError('object-damaged', {
    what: `folder ${id.toString('hex')}`,
    reason: 'depth',
  });
}

/** Pages end where names say, so that a new name changes one page only. */
function* cutPages(entries: readonly FileEntry[]): Generator<FileEntry[]> {
  let page: FileEntry[] = [];
  let attributeBytes = 0;
  for (const entry of entries) {
    page.push(entry);
    for (const { value } of entry.extendedAttributes) attributeBytes += value.length;
    if (!endsPage(page, entry.name) && attributeBytes < PAGE_ATTRIBUTE_BYTES_MAX) continue;
    yield page;
    page = [];
    attributeBytes = 0;
  }
  if (page.length > 0 || entries.length === 0) yield page;
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
