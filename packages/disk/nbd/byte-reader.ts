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

export class ByteReader {
  readonly #source: Pausable;
  #piece: Uint8Array = NOTHING;
  #wish: Wish | undefined;
  #failure: CofferError | undefined;
  #isDiscarding = false;

  constructor(source: Pausable) {
    this.#source = source;
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
      if (this.#piece.length > 0) {
        this.#serve();
        if (this.#piece.length === 0) this.#source.resume();
      }
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
    const length = Math.min(wish.target.length - wish.done, this.#piece.length);
    wish.target.set(this.#piece.subarray(0, length), wish.done);
    wish.done += length;
    this.#piece = this.#piece.subarray(length);
    if (wish.done < wish.target.length) return;
    this.#wish = undefined;
    wish.resolve();
  }
}
