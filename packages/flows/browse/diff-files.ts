/** What differs between two points of files. Folders that are the same node are not read. */
import type { ContentPiece, FileContent, FileEntry } from '@coffer/base';
import { textOfBytes } from '@coffer/base/path-text.ts';
import { type ChunkId, type ChunkReader, isZeroId, readFolder } from '@coffer/repository';
import { walkFiles } from '../walk.ts';

export interface FileDifference {
  readonly path: string;
  /** `modified` is the content, or where a link leads; `metadata` is all else. */
  readonly change: 'added' | 'removed' | 'modified' | 'metadata';
  /** The entry in the second point; in the first one for what was removed. */
  readonly entry: FileEntry;
}

export async function* diffFolders(
  reader: ChunkReader,
  before: ChunkId,
  after: ChunkId,
  under = '',
): AsyncGenerator<FileDifference> {
  if (before.equals(after)) return;
  for await (const pair of pairs(readFolder(reader, before), readFolder(reader, after))) {
    yield* diffPair(reader, pair, under);
  }
}

/** Entries of one name. */
interface EntryPair {
  readonly before: FileEntry | undefined;
  readonly after: FileEntry | undefined;
}

async function* diffPair(
  reader: ChunkReader,
  { before, after }: EntryPair,
  under: string,
): AsyncGenerator<FileDifference> {
  if (!before || !after || before.type !== after.type) {
    if (before) yield* whole(reader, before, under, 'removed');
    if (after) yield* whole(reader, after, under, 'added');
    return;
  }
  const path = `${under}${textOfBytes(after.name)}`;
  if (!sameContent(before, after)) yield { path, change: 'modified', entry: after };
  else if (!sameMetadata(before, after)) yield { path, change: 'metadata', entry: after };
  if (before.folder && after.folder) {
    yield* diffFolders(reader, before.folder, after.folder, `${path}/`);
  }
}

/** An entry and all below it. */
async function* whole(
  reader: ChunkReader,
  entry: FileEntry,
  under: string,
  change: 'added' | 'removed',
): AsyncGenerator<FileDifference> {
  const path = `${under}${textOfBytes(entry.name)}`;
  yield { path, change, entry };
  if (!entry.folder) return;
  for await (const below of walkFiles(reader, entry.folder)) {
    yield { path: `${path}/${textOfBytes(below.relative)}`, change, entry: below.entry };
  }
}

/** Joins two folders by name; both come in the order of their names. */
async function* pairs(
  before: AsyncGenerator<FileEntry>,
  after: AsyncGenerator<FileEntry>,
): AsyncGenerator<EntryPair> {
  let [first, second] = await Promise.all([before.next(), after.next()]);
  while (!first.done || !second.done) {
    const order = compareNames(first, second);
    yield {
      before: order <= 0 ? (first.value as FileEntry) : undefined,
      after: order >= 0 ? (second.value as FileEntry) : undefined,
    };
    if (order <= 0) first = await before.next();
    if (order >= 0) second = await after.next();
  }
}

function compareNames(
  first: IteratorResult<FileEntry, void>,
  second: IteratorResult<FileEntry, void>,
): number {
  if (first.done) return 1;
  if (second.done) return -1;
  return Buffer.compare(first.value.name, second.value.name);
}

function sameContent(before: FileEntry, after: FileEntry): boolean {
  return (
    before.sizeBytes === after.sizeBytes &&
    sameBytes(before.linkTarget, after.linkTarget) &&
    before.deviceNumber === after.deviceNumber &&
    samePieces(before.content, after.content)
  );
}

/** Equal bytes are equal pieces, but for files that one time had holes and another time zeroes. */
function samePieces(before: FileContent | undefined, after: FileContent | undefined): boolean {
  if (!before || !after) return before === after;
  if (before.form === 'tree') return after.form === 'tree' && before.root.equals(after.root);
  if (after.form === 'tree') return false;
  const [first, second] = [joinZeroes(before.pieces), joinZeroes(after.pieces)];
  return (
    first.length === second.length &&
    first.every(({ id, length }, index) => {
      const other = second[index];
      return other?.length === length && other.id.equals(id);
    })
  );
}

function joinZeroes(pieces: readonly ContentPiece[]): ContentPiece[] {
  const joined: ContentPiece[] = [];
  for (const piece of pieces) {
    const last = joined.at(-1);
    if (last && isZeroId(last.id) && isZeroId(piece.id)) {
      joined[joined.length - 1] = { id: last.id, length: last.length + piece.length };
    } else {
      joined.push(piece);
    }
  }
  return joined;
}

/** Only what a restore brings back counts: not the inode, nor when it changed. */
function sameMetadata(before: FileEntry, after: FileEntry): boolean {
  const attributes = before.extendedAttributes;
  return (
    before.mode === after.mode &&
    before.userId === after.userId &&
    before.groupId === after.groupId &&
    before.modifiedNs === after.modifiedNs &&
    attributes.length === after.extendedAttributes.length &&
    attributes.every(({ name, value }, index) => {
      const other = after.extendedAttributes[index];
      return other?.name.equals(name) === true && other.value.equals(value);
    })
  );
}

function sameBytes(before: Buffer | undefined, after: Buffer | undefined): boolean {
  if (!before || !after) return before === after;
  return before.equals(after);
}
