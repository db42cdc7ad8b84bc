/**
 * One client of the server: the handshake, then requests, many of them at once. What a client may
 * ask for at once is bounded in number and in bytes, so that its memory is.
 */
import type { Socket } from 'node:net';
import type { TlsOptions } from 'node:tls';
import { CofferError, isCofferError, Semaphore } from '@coffer/base';
import type { WritableDisk } from '../disk.ts';
import { allocationOf } from './allocation.ts';
import { BufferPool } from './buffer-pool.ts';
import { Connection } from './connection.ts';
import { decodeOptionHeader, encodeGreeting, OPTION_HEADER_SIZE_BYTES } from './handshake-codec.ts';
import {
  COMMAND,
  COMMAND_FLAG,
  ERROR,
  FIXED_NEWSTYLE,
  NO_ZEROES,
  PAYLOAD_SIZE_MAX,
  REQUEST_SIZE_BYTES,
} from './protocol.ts';
import {
  ALLOCATION_CONTEXT_ID,
  type ServerOffer,
  type ServerState,
  stepServer,
} from './server-handshake-machine.ts';
import { secureServer } from './tls.ts';
import {
  decodeRequest,
  encodeBlockStatus,
  encodeDataHead,
  encodeDone,
  encodeError,
  encodeSimpleReply,
  type Request,
} from './transmission-codec.ts';

const REQUESTS_AT_ONCE = 16;
const HANDSHAKE_TIMEOUT_MS = 10_000;
const ZEROES = Buffer.alloc(1024 * 1024);

/** An export as its requests are served. */
export interface ServedExport {
  readonly disk: WritableDisk;
  readonly readOnly: boolean;
}

export interface ServerConnectionOptions {
  readonly offer: ServerOffer;
  readonly exports: ReadonlyMap<string, ServedExport>;
  readonly tls: TlsOptions | undefined;
  /** Told of failures that the client hears of as an error number only. */
  readonly onError: (error: CofferError) => void;
}

type Transmission = Extract<ServerState, { phase: 'transmission' }>;

/** A request that the client made wrongly or that cannot be done, with its error number. */
class Refusal extends Error {
  readonly error: number;

  constructor(error: number, message: string) {
    super(message);
    this.error = error;
  }
}

/** Serves a client until it leaves. Fails only by a broken invariant. */
export async function serveClient(socket: Socket, options: ServerConnectionOptions): Promise<void> {
  const first = new Connection(socket);
  let connection = first;
  const timer = setTimeout(
    () => connection.fail(new CofferError('nbd-timeout', { phase: 'handshake' })),
    HANDSHAKE_TIMEOUT_MS,
  );
  try {
    const agreed = await shakeHands(first, options, (secured) => (connection = secured));
    clearTimeout(timer);
    if (agreed) await new Client(connection, agreed, options).serve();
    await connection.end();
  } catch (error) {
    if (!(error instanceof CofferError)) throw error;
    connection.fail(error);
    // That clients leave is nothing to tell.
    if (!isCofferError(error, 'nbd-unreachable')) options.onError(error);
  } finally {
    clearTimeout(timer);
  }
}

async function shakeHands(
  first: Connection,
  { offer, tls }: ServerConnectionOptions,
  onSecured: (connection: Connection) => void,
): Promise<Transmission | undefined> {
  let connection = first;
  await connection.write(encodeGreeting(FIXED_NEWSTYLE | NO_ZEROES));
  const flags = (await connection.reader.read(4)).readUInt32BE(0);
  let step = stepServer({ phase: 'flags' }, { form: 'flags', flags }, offer);
  for (;;) {
    if (step.send.length > 0) await connection.write(step.send);
    if (step.startTls && tls) {
      connection = new Connection(await secureServer(connection.releaseSocket(), tls));
      onSecured(connection);
    }
    const { state } = step;
    if (state.phase === 'transmission') return state;
    if (state.phase === 'ended') return undefined;
    const header = decodeOptionHeader(await connection.reader.read(OPTION_HEADER_SIZE_BYTES));
    const option = { option: header.option, data: await connection.reader.read(header.length) };
    step = stepServer(state, { form: 'option', option }, offer);
  }
}

class Client {
  readonly #connection: Connection;
  readonly #agreed: Transmission;
  readonly #served: ServedExport;
  readonly #onError: (error: CofferError) => void;
  readonly #slots = new Semaphore(REQUESTS_AT_ONCE);
  readonly #buffers = new BufferPool();

  constructor(connection: Connection, agreed: Transmission, options: ServerConnectionOptions) {
    this.#connection = connection;
    this.#agreed = agreed;
    this.#served = options.exports.get(agreed.exportName)!;
    this.#onError = options.onError;
  }

  /** Returns when the client has said that it leaves, and all it asked for is done. */
  async serve(): Promise<void> {
    const running = new Set<Promise<void>>();
    const header = Buffer.allocUnsafe(REQUEST_SIZE_BYTES);
    for (;;) {
      await this.#connection.reader.readInto(header);
      const request = decodeRequest(header);
      if (request.command === COMMAND.disconnect) break;
      const payload = await this.#payloadOf(request);
      await this.#slots.acquire();
      const run = this.#run(request, payload).finally(() => this.#slots.release());
      running.add(run);
      void run.then(() => running.delete(run));
    }
    await Promise.all(running);
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

  /** Answers one request; failures of the connection are the receiver's to tell. */
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
    if ((flags & COMMAND_FLAG.fua) !== 0 && command !== COMMAND.flush) await disk.flush();
    await this.#done(request);
  }

  /** The offset of a request that is inside of the disk and allowed. */
  #checked({ command, offset, length }: Request): number {
    const { disk, readOnly } = this.#served;
    const changes: number[] = [COMMAND.write, COMMAND.writeZeroes, COMMAND.trim];
    if (readOnly && changes.includes(command)) throw new Refusal(ERROR.EPERM, 'read-only');
    if (command === COMMAND.flush) return 0;
    const start = Number(offset);
    if (start + length > disk.sizeBytes) {
      const isWrite = command === COMMAND.write || command === COMMAND.writeZeroes;
      throw new Refusal(isWrite ? ERROR.ENOSPC : ERROR.EINVAL, 'beyond the end of the disk');
    }
    if (length === 0) throw new Refusal(ERROR.EINVAL, 'a length of 0');
    return start;
  }

  async #read({ cookie, offset, length }: Request, start: number): Promise<void> {
    if (length > PAYLOAD_SIZE_MAX) throw new Refusal(ERROR.EOVERFLOW, 'a read too large');
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

  #toNumber(error: unknown): { number: number; message: string } {
    if (error instanceof Refusal) return { number: error.error, message: error.message };
    const failure = error instanceof CofferError ? error : new CofferError('internal', {}, error);
    if (failure !== this.#connection.failure) this.#onError(failure);
    const number = isCofferError(failure, 'target-full') ? ERROR.ENOSPC : ERROR.EIO;
    return { number, message: failure.message };
  }
}
