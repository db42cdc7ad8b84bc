/** What the stores have in common that speak HTTP through an SDK: limits of time, errors, reading. */
import { type Clock, type CofferError } from '@coffer/base';
import { checkRange, readNothing } from './checks.ts';
import { type Answer, readRangeInto, readWhole } from './http-body.ts';
import type { ByteRange, CallOptions, GetOptions, ObjectStore } from './object-store.ts';
import { answerMs, withDeadline } from './pace.ts';

/** As the SDKs take it. */
export interface Signals {
  readonly abortSignal: AbortSignal;
}

/** The beginning of an answer that brings an object, or the range of one that was asked for. */
export type Download = Pick<Answer, 'body' | 'length' | 'range'>;

export interface HttpCallsOptions {
  /** Tells when an answer is too slow. */
  readonly clock: Clock;
  /** The error for what the SDK threw in a call about an object, or about none. */
  readonly explain: (error: unknown, name: string | undefined) => CofferError;
}

export class HttpCalls {
  readonly #clock: Clock;
  readonly #explain: HttpCallsOptions['explain'];

  constructor({ clock, explain }: HttpCallsOptions) {
    this.#clock = clock;
    this.#explain = explain;
  }

  /** A call with a short answer, and a limit of time that allows for what it sends. */
  async call<T>(
    name: string | undefined,
    options: CallOptions | undefined,
    sentBytes: number,
    call: (signals: Signals) => Promise<T>,
  ): Promise<T> {
    options?.signal?.throwIfAborted();
    return await this.explained(name, options, () =>
      withDeadline(this.#clock, answerMs(sentBytes), options?.signal, (abortSignal) =>
        call({ abortSignal }),
      ),
    );
  }

  /** A call that watches over its time by itself. */
  async explained<T>(
    name: string | undefined,
    options: CallOptions | undefined,
    call: () => Promise<T>,
  ): Promise<T> {
    try {
      return await call();
    } catch (error) {
      options?.signal?.throwIfAborted();
      throw this.#explain(error, name);
    }
  }

  /** Begins a download, and uses its body while that comes fast enough. */
  async read<T>(
    name: string,
    options: CallOptions | undefined,
    download: (signals: Signals) => Promise<Download>,
    use: (answer: Answer) => Promise<T>,
  ): Promise<T> {
    const answer = await this.call(name, options, 0, download);
    return await this.explained(name, options, () =>
      use({ ...answer, signal: options?.signal, clock: this.#clock }),
    );
  }
}

/** How a store begins to read an object: all of it, or a range that is not empty. */
export type BeginDownload = (
  name: string,
  range: ByteRange | undefined,
  signals: Signals,
) => Promise<Download>;

/** The reading half of a store. */
export class HttpReader {
  readonly #store: Pick<ObjectStore, 'stat'>;
  readonly #calls: HttpCalls;
  readonly #begin: BeginDownload;

  constructor(store: Pick<ObjectStore, 'stat'>, calls: HttpCalls, begin: BeginDownload) {
    this.#store = store;
    this.#calls = calls;
    this.#begin = begin;
  }

  async get(name: string, options: GetOptions): Promise<Buffer> {
    return await this.#calls.read(
      name,
      options,
      (signals) => this.#begin(name, undefined, signals),
      (answer) => readWhole(name, answer, options),
    );
  }

  async getRange(name: string, range: ByteRange, options?: CallOptions): Promise<Buffer> {
    checkRange(range);
    const target = Buffer.allocUnsafe(range.length);
    await this.getInto(name, range.offset, target, options);
    return target;
  }

  async getInto(
    name: string,
    offset: number,
    target: Uint8Array,
    options?: CallOptions,
  ): Promise<void> {
    const range = { offset, length: target.length };
    checkRange(range);
    if (range.length === 0) {
      await readNothing(this.#store, name, offset, options?.signal);
      return;
    }
    await this.#calls.read(
      name,
      options,
      (signals) => this.#begin(name, range, signals),
      (answer) => readRangeInto(name, offset, target, answer),
    );
  }
}
