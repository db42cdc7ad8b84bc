/**
 * The requests of one client, many of them at once. What a client may ask for at once is bounded in
 * number and in bytes, so that its memory is.
 *
 * Invariant: when serving has ended, no request of the client touches its disk any more.
 */
import { CofferError, isCofferError } from '@coffer/base';
import type { WritableDisk } from '../disk.ts';
import { allocationOf } from './allocation.ts';
import type { BufferPool } from './buffer-pool.ts';
import type { Connection } from './connection.ts';
import { InFlight } from './in-flight.ts';
import { COMMAND, COMMAND_FLAG, ERROR, PAYLOAD_SIZE_MAX, REQUEST_SIZE_BYTES } from './protocol.ts';
import { ALLOCATION_CONTEXT_ID, type ServerState } from './server-handshake-machine.ts';
import {
  decodeRequest,
  encodeBlockStatus,
  encodeDataHead,
  encodeDone,
  encodeError,
  encodeSimpleReply,
  type Request,
} from './transmission-codec.ts';

/** Two of the largest requests, or many of the usual ones. */
const IN_FLIGHT_LIMITS = { countMax: 16, bytesMax: 2 * PAYLOAD_SIZE_MAX };
const ZEROES = Buffer.alloc(1024 * 1024);

/** An export as its requests are served. */
export interface ServedExport {
  readonly disk: WritableDisk;
  readonly readOnly: boolean;
}

export interface ServeOptions {
  readonly exports: ReadonlyMap<string, ServedExport>;
  readonly buffers: BufferPool;
  /** Told of failures that the client hears of as an error number only. */
  readonly onError: (error: CofferError) => void;
}

type Transmission = Extract<ServerState, { phase: 'transmission' }>;

/** Flags that a command may have; `fua` is for all ("Command flags"). */
const FLAGS_OF: ReadonlyMap<number, number> = new Map([
  [COMMAND.read, COMMAND_FLAG.doNotFragment],
  [COMMAND.writeZeroes, COMMAND_FLAG.noHole],
  [COMMAND.blockStatus, COMMAND_FLAG.requestOne],
]);
const CHANGES: ReadonlySet<number> = new Set([COMMAND.write, COMMAND.writeZeroes, COMMAND.trim]);

/** A request that the client made wrongly or that cannot be done, with its error number. */
class Refusal extends Error {
  readonly error: number;

  constructor(error: number, message: string) {
    super(message);
    this.error = error;
  }
}

/** Returns when the client has said that it leaves; fails with what ended the connection. */
export async function serveRequests(
  connection: Connection,
  agreed: Transmission,
  options: ServeOptions,
): Promise<void> {
  await new Client(connection, agreed, options).serve();
}

class Client {
  readonly #connection: Connection;
  readonly #agreed: Transmission;
  readonly #served: ServedExport;
  readonly #buffers: BufferPool;
  readonly #onError: (error: CofferError) => void;
  readonly #inFlight = new InFlight(IN_FLIGHT_LIMITS);
  readonly #running = new Set<Promise<void>>();

  constructor(connection: Connection, agreed: Transmission, options: ServeOptions) {
    this.#connection = connection;
    this.#agreed = agreed;
    this.#served = options.exports.get(agreed.exportName)!;
    this.#buffers = options.buffers;
    this.#onError = options.onError;
  }

  async serve(): Promise<void> {
    try {
      await this.#receive();
    } finally {
      await Promise.all(this.#running);
    }
  }

  async #receive(): Promise<void> {
    const header = Buffer.allocUnsafe(REQUEST_SIZE_BYTES);
    for (;;) {
      await this.#connection.reader.readInto(header);
      const request = decodeRequest(header);
      if (request.command === COMMAND.disconnect) return;
      const bytes = heldBytes(request);
      await this.#inFlight.enter(bytes);
      const payload = await this.#payloadOf(request);
      const run = this.#run(request, payload).then(() => {
        this.#inFlight.leave(bytes);
        this.#running.delete(run);
      });
      this.#running.add(run);
    }
  }

  async #payloadOf({ command, length }: Request): Promise<Buffer | undefined> {
    if (command !== COMMAND.write) return undefined;
    if (length > PAYLOAD_SIZE_MAX) {
      throw new CofferError('nbd-protocol', { reason: `a write of ${length} bytes` });
    }
    const payload = this.#buffers.take(length);
    await this.#connection.reader.readInto(payload);
    return payload;
  }

  /** Answers one request; failures of the connection are the receiver's to tell. Never fails. */
  async #run(request: Request, payload: Buffer | undefined): Promise<void> {
    try {
      await this.#answer(request, payload);
    } catch (error) {
      await this.#refuse(request, error).catch(() => {});
    } finally {
      if (payload) this.#buffers.give(payload);
    }
  }

  async #answer(request: Request, payload: Buffer | undefined): Promise<void> {
    const { disk } = this.#served;
    const { command, length, flags } = request;
    const offset = this.#checked(request);
    switch (command) {
      case COMMAND.read:
        await this.#read(request, offset);
        return;
      case COMMAND.blockStatus:
        await this.#blockStatus(request, offset);
        return;
      case COMMAND.write:
        await disk.write(offset, payload!);
        break;
      case COMMAND.writeZeroes:
        await this.#zero(offset, length, (flags & COMMAND_FLAG.noHole) !== 0);
        break;
      case COMMAND.trim:
        await disk.zero(offset, length);
        break;
      case COMMAND.cache:
        await this.#cache(offset, length);
        break;
      case COMMAND.flush:
        await disk.flush();
        break;
      default:
        throw new Refusal(ERROR.EINVAL, `command ${command} is not known`);
    }
    if ((flags & COMMAND_FLAG.fua) !== 0 && CHANGES.has(command)) await disk.flush();
    await this.#done(request);
  }

  /** The offset of a request that is inside of the disk and allowed. */
  #checked({ command, flags, offset, length }: Request): number {
    const { disk, readOnly } = this.#served;
    const flagsKnown = COMMAND_FLAG.fua | (FLAGS_OF.get(command) ?? 0);
    if ((flags & ~flagsKnown) !== 0) throw new Refusal(ERROR.EINVAL, `flags ${flags}`);
    if (readOnly && CHANGES.has(command)) throw new Refusal(ERROR.EPERM, 'read-only');
    if (command === COMMAND.flush) return 0;
    const start = Number(offset);
    if (start + length > disk.sizeBytes) {
      const isWrite = command === COMMAND.write || command === COMMAND.writeZeroes;
      throw new Refusal(isWrite ? ERROR.ENOSPC : ERROR.EINVAL, 'beyond the end of the disk');
    }
    if (length === 0) throw new Refusal(ERROR.EINVAL, 'a length of 0');
    return start;
  }

  async #read({ cookie, flags, offset, length }: Request, start: number): Promise<void> {
    if (length > PAYLOAD_SIZE_MAX) {
      const isWhole = (flags & COMMAND_FLAG.doNotFragment) !== 0;
      throw new Refusal(isWhole ? ERROR.EOVERFLOW : ERROR.EINVAL, 'a read too large');
    }
    await this.#buffers.use(length, async (bytes) => {
      await this.#served.disk.read(start, bytes);
      const head = this.#agreed.structured
        ? encodeDataHead(cookie, offset, length)
        : encodeSimpleReply(cookie, 0);
      // The buffer is used again when the system has taken its bytes.
      await this.#connection.write(head, bytes);
    });
  }

  async #blockStatus({ cookie, flags, length }: Request, start: number): Promise<void> {
    if (!this.#agreed.allocation) throw new Refusal(ERROR.EINVAL, 'no context was agreed');
    const onlyOne = (flags & COMMAND_FLAG.requestOne) !== 0;
    const { disk } = this.#served;
    const descriptors = await allocationOf(disk, { offset: start, length }, onlyOne);
    await this.#connection.write(encodeBlockStatus(cookie, ALLOCATION_CONTEXT_ID, descriptors));
  }

  async #zero(offset: number, length: number, keepsSpace: boolean): Promise<void> {
    const { disk } = this.#served;
    if (!keepsSpace) {
      await disk.zero(offset, length);
      return;
    }
    for (let done = 0; done < length; done += ZEROES.length) {
      await disk.write(offset + done, ZEROES.subarray(0, Math.min(ZEROES.length, length - done)));
    }
  }

  /** Reads, so that a later read is fast, and gives nothing out. */
  async #cache(offset: number, length: number): Promise<void> {
    const { disk } = this.#served;
    const step = Math.min(length, ZEROES.length);
    await this.#buffers.use(step, async (bytes) => {
      for (let done = 0; done < length; done += step) {
        await disk.read(offset + done, bytes.subarray(0, Math.min(step, length - done)));
      }
    });
  }

  async #done({ cookie }: Request): Promise<void> {
    const { structured } = this.#agreed;
    await this.#connection.write(structured ? encodeDone(cookie) : encodeSimpleReply(cookie, 0));
  }

  async #refuse({ cookie }: Request, error: unknown): Promise<void> {
    const { number, message } = this.#toNumber(error);
    const reply = this.#agreed.structured
      ? encodeError(cookie, number, message)
      : encodeSimpleReply(cookie, number);
    await this.#connection.write(reply);
  }

  /** What the client hears: no paths and nothing else of this machine. */
  #toNumber(error: unknown): { number: number; message: string } {
    if (error instanceof Refusal) return { number: error.error, message: error.message };
    const failure = error instanceof CofferError ? error : new CofferError('internal', {}, error);
    if (!this.#connection.failure) this.#onError(failure);
    const number = isCofferError(failure, 'target-full') ? ERROR.ENOSPC : ERROR.EIO;
    return { number, message: failure.row.title };
  }
}

/** What a request holds in memory while it is under way. */
function heldBytes({ command, length }: Request): number {
  if (command === COMMAND.cache) return Math.min(length, ZEROES.length);
  const hasData = command === COMMAND.read || command === COMMAND.write;
  return hasData ? Math.min(length, PAYLOAD_SIZE_MAX) : 0;
}
