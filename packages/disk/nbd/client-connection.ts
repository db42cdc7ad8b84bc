/**
 * One connection of a client: many requests are under way at once, replies come in any order. A
 * reply that is not expected, or that is not what was asked for, ends the connection.
 *
 * Invariant: when a request is settled, nothing is written to its target any more.
 */
import { type Clock, CofferError } from '@coffer/base';
import { Connection } from './connection.ts';
import type { NegotiatedExport } from './client-handshake-machine.ts';
import { invalid } from './handshake-codec.ts';
import { MissingParts } from './missing-parts.ts';
import {
  CHUNK,
  CHUNK_ERROR_MIN,
  COMMAND,
  type CommandName,
  errorName,
  OPTION_SIZE_MAX,
  SIMPLE_REPLY_SIZE_BYTES,
  STATUS_SIZE_MAX,
} from './protocol.ts';
import {
  decodeBlockStatus,
  decodeError,
  decodeHole,
  decodeReplyHead,
  encodeRequest,
  type ReplyHead,
  type StatusDescriptor,
} from './transmission-codec.ts';

/** A reply in more pieces is a server that never ends; one for each sector of a request are fewer. */
const CHUNKS_MAX = 4096;

export interface ClientRequest {
  readonly command: CommandName;
  readonly flags?: number;
  readonly offset: number;
  readonly length: number;
  /** Of a write. */
  readonly payload?: Uint8Array;
  /** Of a read: receives the bytes. */
  readonly target?: Uint8Array;
  /** Of a block status: receives what the context with that number says. */
  readonly onStatus?: (contextId: number, descriptors: StatusDescriptor[]) => void;
}

interface Pending {
  readonly request: ClientRequest;
  readonly missing: MissingParts;
  /** The contexts whose status has come. */
  readonly statusOf: Set<number>;
  chunkCount: number;
  /** What the server said first of what went wrong; the chunks that follow are still read. */
  error: CofferError | undefined;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export interface ClientTimes {
  /** A server that owes an answer and says nothing for so long, or a quarter more, is taken for dead, in ms. */
  readonly requestTimeoutMs: number;
  readonly clock: Clock;
}

/** How often it is looked in that time whether the server has said something. */
const LOOKS = 4;

export class ClientConnection {
  readonly negotiated: NegotiatedExport;
  readonly #connection: Connection;
  readonly #times: ClientTimes;
  readonly #pending = new Map<bigint, Pending>();
  readonly #ended = new AbortController();
  #nextCookie = 1n;
  /** Since it was looked last, the server has answered, or began to owe an answer. */
  #hasTime = true;

  constructor(connection: Connection, negotiated: NegotiatedExport, times: ClientTimes) {
    this.#connection = connection;
    this.negotiated = negotiated;
    this.#times = times;
    connection.onFailure((error) => this.#rejectAll(error));
    void this.#receive();
    void this.#watch();
  }

  get failure(): CofferError | undefined {
    return this.#connection.failure;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  /** Fails with `nbd-failed` when the server says so, and with what ended the connection. */
  async request(request: ClientRequest): Promise<void> {
    if (this.failure) throw this.failure;
    const cookie = this.#nextCookie++;
    const done = new Promise<void>((resolve, reject) => {
      this.#pending.set(cookie, {
        request,
        missing: new MissingParts(request.target ? request.length : 0),
        statusOf: new Set(),
        chunkCount: 0,
        error: undefined,
        resolve,
        reject,
      });
    });
    // Requests that follow do not give the server more time for the first.
    if (this.#pending.size === 1) this.#hasTime = true;
    const header = encodeRequest({
      flags: request.flags ?? 0,
      command: COMMAND[request.command],
      cookie,
      offset: BigInt(request.offset),
      length: request.length,
    });
    // A failure to send ends the connection, and so it is told to whoever waits.
    const pieces = request.payload ? [header, request.payload] : [header];
    this.#connection.write(...pieces).catch(() => {});
    await done;
  }

  /** Leaves the server; requests that are under way fail. */
  async close(): Promise<void> {
    this.#ended.abort();
    if (this.failure) return;
    const place = { offset: 0n, length: 0 };
    const leave = { flags: 0, command: COMMAND.disconnect, cookie: 0n, ...place };
    this.#connection.write(encodeRequest(leave)).catch(() => {});
    await this.#connection.end(this.#times.clock);
  }

  async #receive(): Promise<void> {
    const { reader } = this.#connection;
    const head = Buffer.allocUnsafe(SIMPLE_REPLY_SIZE_BYTES);
    try {
      for (;;) {
        await reader.readInto(head);
        await this.#reply(decodeReplyHead(head));
        this.#hasTime = true;
      }
    } catch (error) {
      this.#connection.fail(
        error instanceof CofferError ? error : new CofferError('internal', {}, error),
      );
    }
  }

  async #reply(head: ReplyHead): Promise<void> {
    const pending = this.#pending.get(head.cookie);
    if (!pending) throw invalid('a reply to no request');
    if (head.form === 'chunk') {
      await this.#chunk(head, pending);
      if (!head.isLast) return;
    } else {
      await this.#simpleReply(head.error, pending);
    }
    this.#pending.delete(head.cookie);
    finish(pending);
  }

  /** "Simple reply message": bytes follow it only where structured replies were not agreed. */
  async #simpleReply(error: number, pending: Pending): Promise<void> {
    const { target, length } = pending.request;
    if (target && this.negotiated.structured) throw invalid('a simple reply to a read');
    if (error !== 0) {
      pending.error = failed(pending.request, error);
    } else if (target) {
      await this.#connection.reader.readInto(target);
      pending.missing.take(0, length);
    }
  }

  /** "Structured reply chunk message". */
  async #chunk(head: Extract<ReplyHead, { form: 'chunk' }>, pending: Pending): Promise<void> {
    if (!this.negotiated.structured) throw invalid('a structured reply that was not agreed');
    if (++pending.chunkCount > CHUNKS_MAX) throw invalid('a reply in too many chunks');
    const { reader } = this.#connection;
    const length = (await reader.read(4)).readUInt32BE(0);
    const { type } = head;
    if (type === CHUNK.offsetData) {
      await this.#data(length, pending);
      return;
    }
    const sizeMax = type === CHUNK.blockStatus ? STATUS_SIZE_MAX : OPTION_SIZE_MAX;
    if (length > sizeMax) throw invalid(`a chunk of type ${type} of ${length} bytes`);
    const data = await reader.read(length);
    if (type === CHUNK.offsetHole) hole(data, pending);
    else if (type === CHUNK.blockStatus) status(data, pending);
    else if (type >= CHUNK_ERROR_MIN) {
      const { error, message } = decodeError(type, data);
      pending.error ??= failed(pending.request, error, message);
    } else if (type !== CHUNK.none || length > 0 || !head.isLast) {
      throw invalid(`a chunk of type ${type} of ${length} bytes`);
    }
  }

  async #data(length: number, pending: Pending): Promise<void> {
    if (length <= 8) throw invalid('a chunk of data without data');
    const offset = (await this.#connection.reader.read(8)).readBigUInt64BE(0);
    await this.#connection.reader.readInto(part(pending, offset, length - 8));
  }

  /** Fails the connection when the server says nothing for so long while it owes answers. */
  async #watch(): Promise<void> {
    const { requestTimeoutMs, clock } = this.#times;
    try {
      for (let silentLooks = 0; silentLooks < LOOKS;) {
        await clock.sleep(requestTimeoutMs / LOOKS, this.#ended.signal);
        silentLooks = this.#hasTime || this.#pending.size === 0 ? 0 : silentLooks + 1;
        this.#hasTime = false;
      }
    } catch (error) {
      if (!this.#ended.signal.aborted) throw error;
      return;
    }
    const silentForSeconds = requestTimeoutMs / 1000;
    this.#connection.fail(new CofferError('nbd-timeout', { silentForSeconds }));
  }

  #rejectAll(error: CofferError): void {
    this.#ended.abort();
    const pendings = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pendings) reject(error);
  }
}

function finish({ missing, error, resolve, reject }: Pending): void {
  if (error) reject(error);
  else if (!missing.isEmpty) reject(invalid('a reply with parts missing'));
  else resolve();
}

/** The place of a read's target; fails when the server sends what was not asked for, or twice. */
function part({ request, missing }: Pending, offset: bigint, length: number): Uint8Array {
  const place = Number(offset) - request.offset;
  if (!request.target || !missing.take(place, length)) {
    throw invalid('data of another place than was asked for, or twice');
  }
  return request.target.subarray(place, place + length);
}

function hole(data: Buffer, pending: Pending): void {
  const { offset, length } = decodeHole(data);
  part(pending, offset, length).fill(0);
}

function status(data: Buffer, { request, statusOf }: Pending): void {
  const { contextId, descriptors } = decodeBlockStatus(data);
  if (!request.onStatus || statusOf.has(contextId)) {
    throw invalid('a status that was not asked for, or twice');
  }
  statusOf.add(contextId);
  request.onStatus(contextId, descriptors);
}

function failed(
  { command, offset, length }: ClientRequest,
  error: number,
  said?: string,
): CofferError {
  const details = { command, offset, length, error: errorName(error), said };
  return new CofferError('nbd-failed', details);
}
