/**
 * The notebook of a writer that cannot open what it has stored: the nodes of its last point, so that
 * the next one need not read files again that are as they were. It is a local file of nobody else
 * (mode 0600), and a cache: one that is lost, damaged, or about another point is of no use, and no
 * reason to fail. Each node is checked by its id.
 *
 * The file: a line that says what it is and of which point; then each node as its id (32 bytes), a
 * length (4 bytes, little endian) and so many bytes, zstd over head and body.
 */
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { CofferError, systemErrorCode } from '@coffer/base';
import { ChunkHasher, type ChunkId, idKey } from './chunk/chunk-id.ts';
import { decodeNodeHead, encodeNodeHead, nodeHeadLength } from './tree/node-codec.ts';
import type { Node, NodeReader } from './tree/node-reader.ts';

const ID_SIZE_BYTES = 32;
const HEAD_SIZE_BYTES = ID_SIZE_BYTES + 4;
/** Of a node, opened; FORMAT.md, section 11, allows less. */
const NODE_SIZE_BYTES_MAX = 16 * 1024 * 1024;
const BUFFERED_BYTES_MAX = 1024 * 1024;

export interface NotebookOptions {
  /** Of the file; its folder is made. */
  readonly path: string;
  readonly hashKey: Buffer;
  /** Id of the point whose nodes are looked up; undefined for none. */
  readonly point: string | undefined;
}

interface Place {
  readonly offset: number;
  readonly length: number;
}

/** What is read of the last point is remembered for the next time; so is what is added. */
export class Notebook implements NodeReader, Disposable {
  readonly #path: string;
  readonly #hasher: ChunkHasher;
  readonly #last: LastPage | undefined;
  readonly #next: NextPage;

  constructor({ path, hashKey, point }: NotebookOptions) {
    this.#path = path;
    this.#hasher = new ChunkHasher(hashKey);
    this.#last = point === undefined ? undefined : LastPage.open(path, point);
    this.#next = new NextPage(path);
  }

  /** Whether it has the nodes of the point. */
  get isOfPoint(): boolean {
    return this.#last !== undefined;
  }

  /** Fails with `chunk-missing` and `chunk-damaged`. */
  async readNode(id: ChunkId): Promise<Node> {
    const record = this.#last?.read(id);
    if (!record) throw new CofferError('chunk-missing', { chunk: id.toString('hex') });
    const headLength = nodeHeadLength(record);
    const [head, body] = [record.subarray(0, headLength), record.subarray(headLength)];
    if (!this.#hasher.node(head, body).equals(id)) {
      const reason = 'the notebook is damaged';
      throw new CofferError('chunk-damaged', { chunk: id.toString('hex'), reason });
    }
    this.#next.add(id, record);
    return { children: decodeNodeHead(record), body };
  }

  add(id: ChunkId, { children, body }: Node): void {
    this.#next.add(id, Buffer.concat([encodeNodeHead(children), body]));
  }

  /** All that was read and added is of the point, which is stored. */
  finish(point: string): void {
    this.#next.finish(point, this.#path);
  }

  [Symbol.dispose](): void {
    this.#last?.close();
    this.#next.discard();
  }
}

/** What the file has. */
class LastPage {
  readonly #fd: number;
  readonly #places: ReadonlyMap<string, Place>;

  private constructor(fd: number, places: ReadonlyMap<string, Place>) {
    this.#fd = fd;
    this.#places = places;
  }

  /** Undefined when there is none of the point, or it cannot be read. */
  static open(path: string, point: string): LastPage | undefined {
    let fd: number | undefined;
    try {
      fd = openSync(path, 'r');
      const places = placesIn(fd, point);
      if (places) return new LastPage(fd, places);
    } catch (error) {
      if (systemErrorCode(error) === undefined) throw error;
    }
    if (fd !== undefined) closeSync(fd);
    return undefined;
  }

  read(id: ChunkId): Buffer | undefined {
    const place = this.#places.get(idKey(id));
    if (!place) return undefined;
    try {
      const packed = Buffer.alloc(place.length);
      readSync(this.#fd, packed, 0, place.length, place.offset);
      return zstdDecompressSync(packed, { maxOutputLength: NODE_SIZE_BYTES_MAX });
    } catch {
      // Damage of a cache, of whatever kind.
      return undefined;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function titleOf(point: string): Buffer {
  return Buffer.from(`coffer notebook 1 ${point}\n`, 'latin1');
}

function placesIn(fd: number, point: string): Map<string, Place> | undefined {
  const title = titleOf(point);
  const found = Buffer.alloc(title.length);
  readSync(fd, found, 0, title.length, 0);
  if (!found.equals(title)) return undefined;
  const places = new Map<string, Place>();
  const { size } = fstatSync(fd);
  const head = Buffer.alloc(HEAD_SIZE_BYTES);
  for (let at = title.length; at < size;) {
    readSync(fd, head, 0, HEAD_SIZE_BYTES, at);
    const length = head.readUInt32LE(ID_SIZE_BYTES);
    const offset = at + HEAD_SIZE_BYTES;
    if (length > NODE_SIZE_BYTES_MAX || offset + length > size) return undefined;
    places.set(idKey(head.subarray(0, ID_SIZE_BYTES)), { offset, length });
    at = offset + length;
  }
  return places;
}

/** What the file will have. When it cannot be written, there is none the next time. */
class NextPage {
  readonly #path: string;
  #fd: number | undefined;
  readonly #ids = new Set<string>();
  #buffered: Buffer[] = [];
  #bufferedBytes = 0;
  #end: number;

  constructor(path: string) {
    this.#path = `${path}.${process.pid}`;
    this.#end = titleOf('0'.repeat(32)).length;
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      rmSync(this.#path, { force: true });
      this.#fd = openSync(this.#path, 'wx', 0o600);
    } catch (error) {
      if (systemErrorCode(error) === undefined) throw error;
    }
  }

  add(id: ChunkId, record: Buffer): void {
    if (this.#fd === undefined || this.#ids.has(idKey(id))) return;
    this.#ids.add(idKey(id));
    const packed = zstdCompressSync(record);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(packed.length);
    this.#buffered.push(Buffer.from(id), length, packed);
    this.#bufferedBytes += HEAD_SIZE_BYTES + packed.length;
    if (this.#bufferedBytes >= BUFFERED_BYTES_MAX) this.#attempt(() => this.#flush());
  }

  finish(point: string, path: string): void {
    this.#attempt(() => {
      this.#flush();
      writeSync(this.#fd!, titleOf(point), 0, undefined, 0);
      renameSync(this.#path, path);
      closeSync(this.#fd!);
      this.#fd = undefined;
    });
  }

  discard(): void {
    if (this.#fd === undefined) return;
    closeSync(this.#fd);
    this.#fd = undefined;
    rmSync(this.#path, { force: true });
  }

  #flush(): void {
    const bytes = Buffer.concat(this.#buffered);
    this.#buffered = [];
    this.#bufferedBytes = 0;
    for (let done = 0; done < bytes.length;) {
      done += writeSync(this.#fd!, bytes, done, bytes.length - done, this.#end + done);
    }
    this.#end += bytes.length;
  }

  /** A full disk takes the notebook, and nothing else. */
  #attempt(task: () => void): void {
    if (this.#fd === undefined) return;
    try {
      task();
    } catch (error) {
      if (systemErrorCode(error) === undefined) throw error;
      this.discard();
    }
  }
}
