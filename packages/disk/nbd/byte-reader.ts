/**
 * Reads exact numbers of bytes from a connection. What has arrived and was not asked for yet is at
 * most one piece: the connection is paused until it is used, so the memory is bounded whatever the
 * peer sends.
 */
import { assert, type CofferError } from '@coffer/base';

/** What pauses and resumes the source of the bytes. */
export interface Pausable {
  pause(): void;
  resume(): void;
}

interface Wish {
  readonly target: Uint8Array;
  done: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const NOTHING: Uint8Array = new Uint8Array(0);
/** For less, a call of the system costs more than the copy that it saves. */
const DIRECT_SIZE_BYTES_MIN = 4096;

/** Takes what has arrived since the last piece straight into a target; returns how many bytes. */
export type DirectReceive = (target: Uint8Array) => number;

export class ByteReader {
  readonly #source: Pausable;
  readonly #receive: DirectReceive;
  #piece: Uint8Array = NOTHING;
  #wish: Wish | undefined;
  #failure: CofferError | undefined;
  #isDiscarding = false;

  /** `receive` must find what comes after the pieces: nothing may lie between in a buffer. */
  constructor(source: Pausable, receive: DirectReceive = () => 0) {
    this.#source = source;
    this.#receive = receive;
  }

  /** True when bytes have arrived that nobody has asked for. */
  get hasBytes(): boolean {
    return this.#piece.length > 0;
  }

  /** Takes a piece that arrived; it must stay as it is until the source is resumed. */
  feed(piece: Uint8Array): void {
    if (this.#isDiscarding) return;
    assert(this.#piece.length === 0, 'a paused source sends nothing');
    this.#piece = piece;
    this.#serve();
    if (this.#piece.length > 0) this.#source.pause();
  }

  /** From now on nothing is kept: the connection ends, and only its end is of interest. */
  discard(): void {
    this.#isDiscarding = true;
    this.#piece = NOTHING;
  }

  /** Ends the reading: what is asked for from now on, and is not there, fails with the error. */
  fail(error: CofferError): void {
    this.#failure ??= error;
    const wish = this.#wish;
    this.#wish = undefined;
    wish?.reject(this.#failure);
  }

  /** Fills the target; fails when the connection ends before. One read at a time. */
  async readInto(target: Uint8Array): Promise<void> {
    assert(!this.#wish, 'one read at a time');
    if (target.length === 0) return;
    await new Promise<void>((resolve, reject) => {
      this.#wish = { target, done: 0, resolve, reject };
      const wasPaused = this.#piece.length > 0;
      this.#serve();
      if (wasPaused && this.#piece.length === 0) this.#source.resume();
      if (this.#wish && this.#failure) this.fail(this.#failure);
    });
  }

  async read(length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length);
    await this.readInto(bytes);
    return bytes;
  }

  #serve(): void {
    const wish = this.#wish;
    if (!wish) return;
    const { target } = wish;
    const length = Math.min(target.length - wish.done, this.#piece.length);
    if (length > 0) {
      target.set(this.#piece.subarray(0, length), wish.done);
      wish.done += length;
      this.#piece = this.#piece.subarray(length);
    }
    if (!this.#failure && target.length - wish.done >= DIRECT_SIZE_BYTES_MIN) {
      wish.done += this.#receive(wish.done === 0 ? target : target.subarray(wish.done));
    }
    if (wish.done < target.length) return;
    this.#wish = undefined;
    wish.resolve();
  }
}
