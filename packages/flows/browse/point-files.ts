/** A recovery point of files as a file system: listed, searched and read at any place. */
import { CofferError, type FileEntry } from '@coffer/base';
import type { FileSystem } from '@coffer/file-system/file-system.ts';
import {
  type ChunkReader,
  contentPiecesFrom,
  findInFolder,
  isZeroId,
  readFolder,
  type RecoveryPoint,
  type UnlockedRepository,
} from '@coffer/repository';
import { parseManifest, rootMetadata } from '../manifest.ts';
import { rootFolder } from '../root-folder.ts';
import { RecentChunks } from './recent-chunks.ts';

/** Pieces that are fetched before they are asked for: most files are read in order. */
const PIECES_AHEAD = 8;

export class PointFiles implements FileSystem<FileEntry> {
  readonly root: FileEntry;
  readonly #reader: ChunkReader;
  readonly #recent: RecentChunks;

  /** Fails with `kind-mismatch` when the point holds no files. */
  constructor(repository: UnlockedRepository, point: RecoveryPoint) {
    if (point.kind !== 'files') throw new CofferError('kind-mismatch', { point: point.id });
    const { rootFolder: stored } = parseManifest(repository.openManifest(point));
    this.#reader = repository.reader();
    this.#recent = new RecentChunks(this.#reader);
    this.root = { ...NO_METADATA, ...rootMetadata(stored), folder: rootFolder(point) };
  }

  async *entries({ folder }: FileEntry): AsyncGenerator<FileEntry> {
    if (folder) yield* readFolder(this.#reader, folder);
  }

  async find({ folder }: FileEntry, name: Buffer): Promise<FileEntry | undefined> {
    return folder && (await findInFolder(this.#reader, folder, name));
  }

  async read({ content }: FileEntry, offset: number, target: Uint8Array): Promise<number> {
    if (!content) return 0;
    const end = offset + target.length;
    let done = 0;
    let ahead = 0;
    for await (const piece of contentPiecesFrom(this.#reader, content, offset)) {
      if (piece.offset >= end && ++ahead > PIECES_AHEAD) break;
      // Who reads there next waits for the same chunk, and hears if it is lost.
      if (piece.offset >= end) this.#fetchAhead(piece);
      else done += await this.#copy(piece, offset, target);
    }
    return done;
  }

  async close(): Promise<void> {}

  async #copy(
    { id, length, offset }: { id: Buffer; length: number; offset: number },
    from: number,
    target: Uint8Array,
  ): Promise<number> {
    const start = Math.max(from, offset);
    const end = Math.min(from + target.length, offset + length);
    const part = target.subarray(start - from, end - from);
    if (isZeroId(id)) part.fill(0);
    else {
      const plain = await this.#recent.chunk(id, length);
      part.set(plain.subarray(start - offset, end - offset));
    }
    return part.length;
  }

  #fetchAhead({ id, length }: { id: Buffer; length: number }): void {
    if (!isZeroId(id)) this.#recent.chunk(id, length).catch(() => {});
  }
}

const NO_METADATA: FileEntry = {
  name: Buffer.alloc(0),
  type: 'directory',
  mode: 0o755,
  userId: 0,
  groupId: 0,
  modifiedNs: 0n,
  changedNs: 0n,
  inode: 1n,
  sizeBytes: 0,
  hardLink: undefined,
  linkTarget: undefined,
  deviceNumber: undefined,
  extendedAttributes: [],
  content: undefined,
  folder: undefined,
};
