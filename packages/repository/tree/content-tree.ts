/**
 * The content of files: a list of pieces, and for long lists a tree over it. Groups end where the
 * ids say, so that an insertion in a file changes the nodes near it only. FORMAT.md, section 11.2.
 */
import { BinaryReader, BinaryWriter, type ContentPiece, type FileContent } from '@coffer/base';
import { type ChunkId, isZeroId } from '../chunk/chunk-id.ts';
import type { WriteNode } from './disk-tree.ts';
import type { NodeReader } from './node-reader.ts';

/** So many pieces stand in the folder's node itself. */
export const PIECES_INLINE_MAX = 16;

const GROUP_MIN = 64;
const GROUP_MAX = 2048;
const GROUP_MASK = 0x1ff;

const LEAF = 3;
const INNER = 4;

/** Collects the pieces of one file; memory grows by 1/512 of a node for each chunk. */
export class ContentBuilder {
  readonly #writeNode: WriteNode;
  #open: ContentPiece[] = [];
  readonly #groups: ContentPiece[] = [];

  constructor(writeNode: WriteNode) {
    this.#writeNode = writeNode;
  }

  async add(piece: ContentPiece): Promise<void> {
    this.#open.push(piece);
    if (endsGroup(this.#open)) await this.#closeGroup();
  }

  async finish(): Promise<FileContent> {
    if (this.#groups.length === 0 && this.#open.length <= PIECES_INLINE_MAX) {
      return { form: 'pieces', pieces: this.#open };
    }
    if (this.#open.length > 0) await this.#closeGroup();
    let level = this.#groups;
    while (level.length > 1) level = await this.#writeLevel(level);
    return { form: 'tree', root: level[0]!.id };
  }

  async #closeGroup(): Promise<void> {
    const pieces = this.#open;
    this.#open = [];
    this.#groups.push(await this.#write(LEAF, pieces));
  }

  async #writeLevel(children: readonly ContentPiece[]): Promise<ContentPiece[]> {
    const parents: ContentPiece[] = [];
    let group: ContentPiece[] = [];
    for (const child of children) {
      group.push(child);
      if (!endsGroup(group)) continue;
      parents.push(await this.#write(INNER, group));
      group = [];
    }
    if (group.length > 0) parents.push(await this.#write(INNER, group));
    return parents;
  }

  async #write(kind: number, pieces: readonly ContentPiece[]): Promise<ContentPiece> {
    const body = new BinaryWriter(8 + pieces.length * 4).u8(kind);
    for (const { length } of pieces) body.varint(length);
    const id = await this.#writeNode(
      pieces.map((piece) => piece.id),
      body.finish(),
    );
    return { id, length: pieces.reduce((sum, { length }) => sum + length, 0) };
  }
}

/** The pieces of a file, in order. */
export async function* contentPieces(
  reader: NodeReader,
  content: FileContent,
): AsyncGenerator<ContentPiece> {
  if (content.form === 'pieces') yield* content.pieces;
  else yield* piecesUnder(reader, content.root);
}

/**
 * True when all of a file's content is stored, its nodes included. That a node is stored says
 * nothing of its children: they may be lost, or condemned by a garbage collection.
 */
export async function isContentStored(
  reader: NodeReader,
  content: FileContent,
  isStored: (id: ChunkId) => boolean,
): Promise<boolean> {
  if (content.form === 'pieces')
    return content.pieces.every(({ id }) => isZeroId(id) || isStored(id));
  return await isTreeStored(reader, content.root, isStored);
}

async function isTreeStored(
  reader: NodeReader,
  root: ChunkId,
  isStored: (id: ChunkId) => boolean,
): Promise<boolean> {
  if (!isStored(root)) return false;
  const { children, body } = await reader.readNode(root);
  const isInner = body[0] === INNER;
  for (const id of children) {
    if (isZeroId(id)) continue;
    const isWhole = isInner ? await isTreeStored(reader, id, isStored) : isStored(id);
    if (!isWhole) return false;
  }
  return true;
}

/** A piece of a file and where it begins, in bytes. */
export interface PlacedPiece extends ContentPiece {
  readonly offset: number;
}

/** The pieces of a file from the one on that holds a byte; what is before is not read. */
export async function* contentPiecesFrom(
  reader: NodeReader,
  content: FileContent,
  from: number,
): AsyncGenerator<PlacedPiece> {
  if (content.form === 'tree') {
    yield* piecesFrom(reader, { id: content.root, offset: 0 }, from);
    return;
  }
  let offset = 0;
  for (const piece of content.pieces) {
    if (offset + piece.length > from) yield { ...piece, offset };
    offset += piece.length;
  }
}

async function* piecesFrom(
  reader: NodeReader,
  node: { readonly id: ChunkId; readonly offset: number },
  from: number,
): AsyncGenerator<PlacedPiece> {
  const { kind, pieces } = await readList(reader, node.id);
  let { offset } = node;
  for (const { id, length } of pieces) {
    const isWanted = offset + length > from;
    if (isWanted && kind === LEAF) yield { id, length, offset };
    else if (isWanted) yield* piecesFrom(reader, { id, offset }, from);
    offset += length;
  }
}

async function* piecesUnder(reader: NodeReader, root: ChunkId): AsyncGenerator<ContentPiece> {
  const { kind, pieces } = await readList(reader, root);
  for (const piece of pieces) {
    if (kind === LEAF) yield piece;
    else yield* piecesUnder(reader, piece.id);
  }
}

/** A node of the content: pieces, or nodes with the lengths of what is below them. */
async function readList(
  reader: NodeReader,
  id: ChunkId,
): Promise<{ kind: number; pieces: ContentPiece[] }> {
  const { children, body } = await reader.readNode(id);
  const fields = new BinaryReader(body, `node ${id.toString('hex')}`);
  const kind = fields.u8();
  if (kind !== LEAF && kind !== INNER) throw fields.damaged('not a list of content');
  const pieces = children.map((child) => ({ id: child, length: fields.varint() }));
  fields.end();
  return { kind, pieces };
}

function endsGroup(group: readonly ContentPiece[]): boolean {
  if (group.length < GROUP_MIN) return false;
  return group.length >= GROUP_MAX || (group.at(-1)!.id.readUInt16LE(0) & GROUP_MASK) === 0;
}
