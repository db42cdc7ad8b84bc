/**
 * The client's side of libvirt's RPC: several calls at once over one connection, answered in any order,
 * with events in between.
 *
 * Invariants: a call is settled exactly once, by its answer, its time-out or the end of the connection.
 * What the server sends is taken only as an answer to what was asked; anything else ends the
 * connection, because nothing after it can be trusted.
 */
import { type Clock, CofferError, isCofferError } from '@coffer/base';
import { Exchange, type ExchangeOptions, type NextStep, type Outcome } from './exchange.ts';
import { Keepalive, KEEPALIVE_PROGRAM, PING, PING_HEADER, PONG_HEADER } from './keepalive.ts';
import {
  encodeMessage,
  type Message,
  MESSAGE_STATUS,
  MESSAGE_TYPE,
  type MessageHeader,
  MessageSplitter,
} from './message-codec.ts';
import { type Procedure, REMOTE } from './procedures.ts';
import { type Transport } from './transport.ts';
import { XdrReader, XdrWriter } from './xdr-codec.ts';

/** A server works on five calls of a client, then reads nothing more, not even what keeps it alive. */
const IN_FLIGHT_COUNT_MAX = 4;
const SERIAL_MAX = 0xffff_ffff;
const NOTHING = Buffer.alloc(0);

export interface RpcClientOptions {
  /** For calls that say nothing else: from being asked for to the answer. */
  readonly timeoutMs: number;
  readonly keepaliveIntervalMs?: number;
  readonly clock: Clock;
  /** A message that nobody asked for: the procedure number, and what is in it. */
  readonly onEvent: (procedure: number, payload: Buffer) => void;
}

export class RpcClient {
  readonly #transport: Transport;
  readonly #options: RpcClientOptions;
  readonly #splitter = new MessageSplitter();
  readonly #keepalive: Keepalive;
  readonly #inFlight = new Map<number, Exchange>();
  readonly #ended = new AbortController();
  #waiting: Exchange[] = [];
  #lastSerial = 0;
  #failure: CofferError | undefined;

  constructor(transport: Transport, options: RpcClientOptions) {
    this.#transport = transport;
    this.#options = options;
    this.#keepalive = new Keepalive({
      ping: () => this.#send(PING_HEADER, NOTHING),
      onSilence: () => this.end(unreachable('the server says nothing any more')),
      clock: options.clock,
      ...(options.keepaliveIntervalMs !== undefined && { intervalMs: options.keepaliveIntervalMs }),
    });
    transport.start({
      onData: (piece) => this.#onData(piece),
      onEnd: (error) => this.end(error),
    });
  }

  /** Aborted when the connection has ended, with the error as its reason. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /**
   * Calls a procedure. Fails with what libvirt says (`errors.ts`), or with `libvirt-unreachable` when
   * the connection is lost or nothing is answered in time; libvirt may have done it all the same.
   */
  async call<A extends readonly unknown[], R>(
    procedure: Procedure<A, R>,
    args: A,
    timeoutMs = this.#options.timeoutMs,
  ): Promise<R> {
    const { answer } = await this.#exchange(procedure, args, {
      timeoutMs,
      clock: this.#options.clock,
    });
    return decodeAnswer(procedure, answer);
  }

  /** Calls a procedure whose answer is followed by bytes. */
  async download<A extends readonly unknown[], R>(
    procedure: Procedure<A, R>,
    args: A,
    streamBytesMax: number,
  ): Promise<{ result: R; bytes: Buffer }> {
    const { timeoutMs, clock } = this.#options;
    const limits = { timeoutMs, streamBytesMax, clock };
    const outcome = await this.#exchange(procedure, args, limits);
    return { result: decodeAnswer(procedure, outcome.answer), bytes: outcome.streamed };
  }

  /** Ends the connection; calls under way fail with the error. */
  end(error: CofferError): void {
    if (this.#failure) return;
    this.#failure = error;
    this.#keepalive.stop();
    this.#transport.destroy();
    for (const exchange of [...this.#inFlight.values(), ...this.#waiting]) exchange.fail(error);
    this.#inFlight.clear();
    this.#waiting = [];
    this.#ended.abort(error);
  }

  async #exchange<A extends readonly unknown[], R>(
    procedure: Procedure<A, R>,
    args: A,
    options: ExchangeOptions,
  ): Promise<Outcome> {
    const writer = new XdrWriter();
    procedure.encode(writer, ...args);
    const exchange = new Exchange(procedure, writer.finish(), options);
    if (this.#failure) exchange.fail(this.#failure);
    this.#waiting.push(exchange);
    this.#sendWaiting();
    return await exchange.outcome;
  }

  #sendWaiting(): void {
    while (this.#inFlight.size < IN_FLIGHT_COUNT_MAX) {
      const exchange = this.#waiting.shift();
      if (!exchange) return;
      // Nobody waits for it any more, and it was not sent yet.
      if (exchange.isSettled) continue;
      const serial = this.#nextSerial();
      this.#inFlight.set(serial, exchange);
      this.#sendOf(exchange, serial, MESSAGE_TYPE.call, MESSAGE_STATUS.ok, exchange.payload);
    }
  }

  #nextSerial(): number {
    // 0 is of events.
    this.#lastSerial = this.#lastSerial === SERIAL_MAX ? 1 : this.#lastSerial + 1;
    return this.#lastSerial;
  }

  #sendOf(exchange: Exchange, serial: number, type: number, status: number, payload: Buffer): void {
    const { program, number: procedure } = exchange.asked;
    const { id, version } = program;
    this.#send({ program: id, version, procedure, type, serial, status }, payload);
  }

  #send(header: MessageHeader, payload: Buffer): void {
    this.#transport.write(encodeMessage(header, payload));
  }

  #onData(piece: Buffer): void {
    this.#keepalive.heard();
    try {
      for (const message of this.#splitter.feed(piece)) {
        if (this.#failure) return;
        this.#onMessage(message);
      }
    } catch (error) {
      if (!isCofferError(error)) throw error;
      this.end(error);
    }
  }

  #onMessage(message: Message): void {
    if (message.program === KEEPALIVE_PROGRAM.id) {
      if (message.procedure === PING) this.#send(PONG_HEADER, NOTHING);
      return;
    }
    if (message.type === MESSAGE_TYPE.event) {
      if (message.program !== REMOTE.id) throw unasked(message);
      this.#options.onEvent(message.procedure, message.payload);
      return;
    }
    this.#onAnswer(message, this.#exchangeOf(message));
  }

  #exchangeOf(message: Message): Exchange {
    const exchange = this.#inFlight.get(message.serial);
    const isAnswer =
      exchange?.asked.number === message.procedure && exchange.asked.program.id === message.program;
    if (!exchange || !isAnswer) throw unasked(message);
    return exchange;
  }

  #onAnswer(message: Message, exchange: Exchange): void {
    const { serial, type } = message;
    const step = this.#step(message, exchange);
    if (step === 'over') {
      this.#inFlight.delete(serial);
      this.#sendWaiting();
    } else if (step !== 'wait') {
      const status = step === 'finish-stream' ? MESSAGE_STATUS.ok : MESSAGE_STATUS.error;
      this.#sendOf(exchange, serial, type, status, NOTHING);
    }
  }

  #step(message: Message, exchange: Exchange): NextStep {
    if (message.type === MESSAGE_TYPE.reply) return exchange.onReply(message);
    if (message.type === MESSAGE_TYPE.stream) return exchange.onStream(message);
    throw unasked(message);
  }
}

function decodeAnswer<R>(procedure: Procedure<never, R>, answer: Buffer): R {
  const reader = new XdrReader(answer, procedure.name);
  const result = procedure.decode(reader);
  reader.end();
  return result;
}

function unasked({ program, procedure, type, serial }: Message): CofferError {
  const details = { structure: 'message', reason: 'nobody asked for it', program };
  return new CofferError('libvirt-failed', { ...details, number: procedure, type, serial });
}

function unreachable(reason: string): CofferError {
  return new CofferError('libvirt-unreachable', { reason });
}
