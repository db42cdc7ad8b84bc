/**
 * Answers the kernel's requests from a file system. It knows nothing of devices: requests come in,
 * answers go out, in any order.
 *
 * Invariants: each request that wants an answer gets exactly one; no failure of the file system
 * leaves this class other than as an error number and a call of `onError`.
 */
import { type FileMetadata, isCofferError, Semaphore } from '@coffer/base';
import type { FileSystem } from '../file-system.ts';
import { FolderStream } from './folder-stream.ts';
import {
  decodeAttributeRequest,
  decodeBatchForget,
  decodeForget,
  decodeInterrupt,
  decodeName,
  decodeRead,
  decodeRelease,
  encodeAttributeNames,
  encodeAttributes,
  encodeAttributeSize,
  encodeEntry,
  encodeOpen,
  encodeStatFileSystem,
  ERRNO,
  negotiate,
  OPCODE,
  type Request,
  WRITING_OPCODES,
} from './fuse-codec.ts';
import { Listing } from './listing.ts';
import { NodeTable } from './node-table.ts';

/** Requests that the file system works on at once; a read holds up to 1 MiB of memory. */
const WORKING_MAX = 64;

/** `errno` is 0 where it went well; `body` is given only then. */
export type Answer = (unique: bigint, errno: number, body?: Uint8Array) => void;

/** The body of an answer, nothing, or the number of an error. */
type Outcome = Uint8Array | number;

/** What the file system is asked, and then what to answer, if anybody still waits for it. */
type Work = () => Promise<() => Outcome>;

const NOTHING = new Uint8Array();
/** The first places of a listing are those of `.` and `..`. */
const DOTS = 2;

export interface ServerOptions {
  readonly answer: Answer;
  /** Told of failures of the file system; who asked the kernel got EIO. */
  readonly onError?: ((error: unknown) => void) | undefined;
}

export class FuseServer<Node extends FileMetadata> {
  readonly #fileSystem: FileSystem<Node>;
  readonly #options: ServerOptions;
  readonly #nodes: NodeTable<Node>;
  readonly #folders = new Map<number, FolderStream<Node>>();
  readonly #pending = new Set<bigint>();
  readonly #working = new Semaphore(WORKING_MAX);
  #nextHandle = 1;
  #noOpenNeeded = false;

  constructor(fileSystem: FileSystem<Node>, options: ServerOptions) {
    this.#fileSystem = fileSystem;
    this.#options = options;
    this.#nodes = new NodeTable(fileSystem.root);
  }

  /** How many nodes the kernel holds, and how many folders are open. */
  get held(): { readonly nodes: number; readonly folders: number } {
    return { nodes: this.#nodes.size, folders: this.#folders.size };
  }

  /** Takes what it needs of the request's memory before it returns. */
  handle(request: Request): void {
    if (this.#notice(request)) return;
    const work = this.#workOf(request);
    if (work) this.#work(request, work);
    else this.#send(request.unique, this.#outcomeOf(request));
  }

  /** Closes the folders that are open, when the kernel asks for nothing any more. */
  async close(): Promise<void> {
    this.#pending.clear();
    const streams = [...this.#folders.values()];
    this.#folders.clear();
    for (const stream of streams) await stream.close().catch(this.#report);
  }

  /** What wants no answer. */
  #notice(request: Request): boolean {
    if (request.opcode === OPCODE.forget) this.#forget(decodeForget(request));
    else if (request.opcode === OPCODE.batchForget) this.#forget(decodeBatchForget(request));
    else if (request.opcode === OPCODE.interrupt) this.#interrupt(decodeInterrupt(request.body));
    else return false;
    return true;
  }

  /** What the file system has to work for. */
  #workOf(request: Request): Work | undefined {
    switch (request.opcode) {
      case OPCODE.lookup:
        return this.#lookup(request);
      case OPCODE.read:
        return this.#read(request);
      case OPCODE.readFolder:
        return this.#readFolder(request, false);
      case OPCODE.readFolderPlus:
        return this.#readFolder(request, true);
      default:
        return undefined;
    }
  }

  /** What needs no work of the file system. */
  #outcomeOf(request: Request): Outcome {
    switch (request.opcode) {
      case OPCODE.init:
        return this.#init(request);
      case OPCODE.getAttributes:
        return this.#ofNode(request, encodeAttributes);
      case OPCODE.readLink:
        return this.#ofNode(request, ({ linkTarget }) => linkTarget ?? ERRNO.EINVAL);
      case OPCODE.open:
        return this.#noOpenNeeded ? ERRNO.ENOSYS : encodeOpen(0);
      case OPCODE.openFolder:
        return this.#ofNode(request, (node) => this.#openFolder(node));
      case OPCODE.releaseFolder:
        return this.#releaseFolder(request);
      case OPCODE.getExtendedAttribute:
        return this.#ofNode(request, (node) => getExtendedAttribute(node, request.body));
      case OPCODE.listExtendedAttributes:
        return this.#ofNode(request, (node) => listExtendedAttributes(node, request.body));
      case OPCODE.statFileSystem:
        return encodeStatFileSystem();
      case OPCODE.access:
      case OPCODE.release:
      case OPCODE.flush:
      case OPCODE.destroy:
        return NOTHING;
      default:
        return WRITING_OPCODES.has(request.opcode) ? ERRNO.EROFS : ERRNO.ENOSYS;
    }
  }

  #init({ body }: Request): Outcome {
    const negotiation = negotiate(body);
    if (!negotiation) return ERRNO.EPROTO;
    this.#noOpenNeeded = negotiation.noOpenNeeded;
    return negotiation.answer;
  }

  #ofNode({ nodeId }: Request, use: (node: Node) => Outcome): Outcome {
    const node = this.#nodes.get(nodeId);
    return node ? use(node) : ERRNO.ESTALE;
  }

  #openFolder(folder: Node): Outcome {
    if (folder.type !== 'directory') return ERRNO.ENOTDIR;
    const handle = this.#nextHandle++;
    this.#folders.set(handle, new FolderStream(this.#fileSystem, folder));
    return encodeOpen(handle);
  }

  #releaseFolder({ body }: Request): Outcome {
    const handle = decodeRelease(body) ?? 0;
    this.#folders.get(handle)?.close().catch(this.#report);
    this.#folders.delete(handle);
    return NOTHING;
  }

  #forget(forgotten: ReturnType<typeof decodeForget>): void {
    for (const one of forgotten) this.#nodes.forget(one);
  }

  /** Who asked does not wait any more; what the file system still does is thrown away. */
  #interrupt(unique: bigint | undefined): void {
    if (unique !== undefined && this.#pending.has(unique)) this.#send(unique, ERRNO.EINTR);
  }

  /** Lookups are counted only when they are told to the kernel, in one step with the answer. */
  #lookup({ nodeId, body }: Request): Work {
    const name = decodeName(body);
    return async () => {
      const folder = this.#nodes.get(nodeId);
      if (!folder || !name) return () => ERRNO.ESTALE;
      if (folder.type !== 'directory') return () => ERRNO.ENOTDIR;
      const node = await this.#fileSystem.find(folder, name);
      return () => (node ? this.#entry(nodeId, node) : encodeEntry(0, undefined));
    };
  }

  /** Of several names of a file the one that is known tells what the file is like. */
  #entry(folderId: number, node: Node): Buffer {
    const id = this.#nodes.look(folderId, node);
    return encodeEntry(id, this.#nodes.get(id));
  }

  #read({ nodeId, body }: Request): Work {
    const wanted = decodeRead(body);
    return async () => {
      const file = this.#nodes.get(nodeId);
      if (!file || !wanted) return () => ERRNO.ESTALE;
      if (file.type !== 'file') return () => ERRNO.EINVAL;
      const rest = Math.max(0, file.sizeBytes - wanted.offset);
      const target = Buffer.allocUnsafe(Math.min(wanted.sizeBytes, rest));
      const length = target.length && (await this.#fileSystem.read(file, wanted.offset, target));
      return () => target.subarray(0, length);
    };
  }

  #readFolder({ nodeId, body }: Request, withNodes: boolean): Work {
    const wanted = decodeRead(body);
    return async () => {
      const folder = this.#nodes.get(nodeId);
      const stream = this.#folders.get(wanted?.handle ?? 0);
      if (!folder || !wanted || !stream) return () => ERRNO.EBADF;
      const listing = new Listing<Node>(wanted.sizeBytes, withNodes);
      if (wanted.offset < 1) listing.addDots('.', folder, 1);
      if (wanted.offset < DOTS) listing.addDots('..', folder, DOTS);
      await stream.from(Math.max(0, wanted.offset - DOTS), (node, nextPlace) =>
        listing.add(node, nextPlace + DOTS),
      );
      return () => listing.encode((node) => this.#entry(nodeId, node));
    };
  }

  #work({ unique }: Request, work: Work): void {
    this.#pending.add(unique);
    this.#working
      .run(async () => {
        if (!this.#pending.has(unique)) return;
        const finish = await work();
        if (this.#pending.has(unique)) this.#send(unique, finish());
      })
      .catch((error: unknown) => this.#fail(unique, error));
  }

  #fail(unique: bigint, error: unknown): void {
    const isMissing = isCofferError(error, 'path-not-found');
    if (!isMissing) this.#report(error);
    if (this.#pending.has(unique)) this.#send(unique, isMissing ? ERRNO.ENOENT : ERRNO.EIO);
  }

  readonly #report = (error: unknown): void => this.#options.onError?.(error);

  #send(unique: bigint, outcome: Outcome): void {
    this.#pending.delete(unique);
    if (typeof outcome === 'number') this.#options.answer(unique, outcome);
    else this.#options.answer(unique, 0, outcome);
  }
}

function getExtendedAttribute({ extendedAttributes }: FileMetadata, body: Buffer): Outcome {
  const wanted = decodeAttributeRequest(body);
  if (!wanted) return ERRNO.EINVAL;
  const found = extendedAttributes.find(({ name }) => name.equals(wanted.name));
  return found ? sized(found.value, wanted.sizeBytes) : ERRNO.ENODATA;
}

function listExtendedAttributes(node: FileMetadata, body: Buffer): Outcome {
  const wanted = decodeAttributeRequest(body);
  return wanted ? sized(encodeAttributeNames(node), wanted.sizeBytes) : ERRNO.EINVAL;
}

/** Who has room for nothing asks for the size. */
function sized(value: Buffer, sizeBytesMax: number): Outcome {
  if (sizeBytesMax === 0) return encodeAttributeSize(value.length);
  return value.length <= sizeBytesMax ? value : ERRNO.ERANGE;
}
