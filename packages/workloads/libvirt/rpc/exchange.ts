/**
 * One call under way: what was asked, and what has come of it. It is settled once; its place among the
 * calls that the server works on is free only when the server has answered, however late.
 */
import { type Clock, CofferError, startDeadline } from '@coffer/base';
import { libvirtError } from '../errors.ts';
import { decodeSentError, type Message, MESSAGE_STATUS } from './message-codec.ts';
import { type Program } from './procedures.ts';

export interface Asked {
  readonly name: string;
  readonly program: Program;
  readonly number: number;
  readonly asksAgent: boolean;
}

export interface ExchangeOptions {
  readonly timeoutMs: number;
  /** Given when a stream follows the answer: how long it may be. */
  readonly streamBytesMax?: number;
  readonly clock: Clock;
}

export interface Outcome {
  readonly answer: Buffer;
  readonly streamed: Buffer;
}

/** What is to be done after a message: nothing yet, say something to the stream, or free the place. */
export type NextStep = 'wait' | 'finish-stream' | 'abort-stream' | 'over';

const NOTHING = Buffer.alloc(0);

export class Exchange {
  readonly asked: Asked;
  readonly payload: Buffer;
  readonly outcome: Promise<Outcome>;
  readonly #streamBytesMax: number | undefined;
  readonly #settle = Promise.withResolvers<Outcome>();
  readonly #meetDeadline: () => void;
  readonly #streamed: Buffer[] = [];
  #streamedBytes = 0;
  #answer: Buffer | undefined;
  #isStreamOver: boolean;
  #isSettled = false;
  #isAborted = false;

  constructor(asked: Asked, payload: Buffer, options: ExchangeOptions) {
    const { timeoutMs, streamBytesMax, clock } = options;
    this.asked = asked;
    this.payload = payload;
    this.outcome = this.#settle.promise;
    this.#streamBytesMax = streamBytesMax;
    this.#isStreamOver = streamBytesMax === undefined;
    const late = { reason: 'no answer in time', timeoutMs };
    this.#meetDeadline = startDeadline(clock, timeoutMs, () =>
      this.fail(new CofferError('libvirt-unreachable', late)),
    );
  }

  /** True when nobody waits any more: the call failed or took too long. */
  get isSettled(): boolean {
    return this.#isSettled;
  }

  /** Ends the waiting; the name of the procedure is added to the error. */
  fail({ code, details, cause }: CofferError): void {
    const error = new CofferError(code, { ...details, procedure: this.asked.name }, cause);
    this.#end(() => this.#settle.reject(error));
  }

  /** Takes the answer. Fails with `libvirt-failed` when it is not one. */
  onReply(message: Message): NextStep {
    if (this.#answer) throw unexpected(message, 'a second answer');
    if (message.status === MESSAGE_STATUS.error) {
      this.#refuse(message);
      return 'over';
    }
    if (message.status !== MESSAGE_STATUS.ok) throw unexpected(message, 'status of an answer');
    this.#answer = message.payload;
    return this.#next();
  }

  /** Takes a message of the stream that belongs to the answer, and may come before it. */
  onStream(message: Message): NextStep {
    if (this.#isStreamOver) throw unexpected(message, 'a stream that was not asked for');
    if (message.status === MESSAGE_STATUS.more) return this.#add(message.payload);
    if (message.status === MESSAGE_STATUS.error) this.#refuse(message);
    this.#isStreamOver = true;
    return this.#next();
  }

  #next(): NextStep {
    if (!this.#answer || !this.#isStreamOver) return 'wait';
    this.#succeed(this.#answer);
    return 'over';
  }

  /** Nothing is said twice: after an abort the server says when the stream is over. */
  #add(piece: Buffer): NextStep {
    if (this.#isAborted) return 'wait';
    // This is how the end of the bytes is told.
    if (piece.length === 0) return 'finish-stream';
    this.#streamed.push(piece);
    this.#streamedBytes += piece.length;
    const bytesMax = this.#streamBytesMax ?? 0;
    if (this.#streamedBytes > bytesMax) {
      this.fail(new CofferError('libvirt-failed', { reason: 'the stream is too long', bytesMax }));
    }
    if (!this.#isSettled) return 'wait';
    this.#isAborted = true;
    return 'abort-stream';
  }

  #refuse({ payload }: Message): void {
    const error = libvirtError(this.asked, decodeSentError(payload));
    this.#end(() => this.#settle.reject(error));
  }

  #succeed(answer: Buffer): void {
    const streamed = this.#streamedBytes === 0 ? NOTHING : Buffer.concat(this.#streamed);
    this.#end(() => this.#settle.resolve({ answer, streamed }));
  }

  #end(settle: () => void): void {
    this.#meetDeadline();
    if (this.#isSettled) return;
    this.#isSettled = true;
    settle();
  }
}

function unexpected({ procedure, serial, status }: Message, what: string): CofferError {
  const details = { structure: 'message', reason: `unexpected: ${what}`, number: procedure };
  return new CofferError('libvirt-failed', { ...details, serial, status });
}
