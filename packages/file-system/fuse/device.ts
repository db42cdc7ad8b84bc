/**
 * The device of one FUSE mount: requests of the kernel are read from it, answers written to it. The
 * event loop waits for requests, so no thread is blocked, and a process that ends need not wake one.
 *
 * Reads and writes are synchronous: they copy memory and never wait.
 */
import { closeSync, writevSync } from 'node:fs';
import { systemErrorCode } from '@coffer/base';
import { SystemError } from '@coffer/base/libc.ts';
import koffi, { type node } from 'koffi';
import {
  decodeRequest,
  encodeAnswerHeader,
  ERRNO,
  type Request,
  REQUEST_BYTES_MAX,
} from './fuse-codec.ts';

const library = koffi.load(null);
const read = library.func('int64_t read(int fd, void *target, size_t size)');

/** Requests that are taken before others of the event loop have their turn. */
const REQUESTS_PER_TURN = 64;

export class FuseDevice {
  readonly #fd: number;
  readonly #memory = Buffer.alloc(REQUEST_BYTES_MAX);
  readonly #ended = Promise.withResolvers<void>();
  readonly #onRequest: (request: Request) => void;
  readonly #poll: node.PollHandle;
  #turn: NodeJS.Immediate | undefined;
  #isOpen = true;

  /** Takes over `fd`, which becomes non-blocking. */
  constructor(fd: number, onRequest: (request: Request) => void) {
    this.#fd = fd;
    this.#onRequest = onRequest;
    // The callback runs outside of Node's own bookkeeping: promises would wait for the next event.
    this.#poll = koffi.node.poll(fd, { readable: true }, () => {
      this.#turn ??= setImmediate(() => this.#takeTurn());
    });
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Settles when the kernel has ended the mount, or `close` was called. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  answer(unique: bigint, errno: number, body?: Uint8Array): void {
    if (!this.#isOpen) return;
    const header = encodeAnswerHeader(unique, errno, body?.length ?? 0);
    try {
      writevSync(this.#fd, body?.length ? [header, body] : [header]);
    } catch (error) {
      // Nobody waits any more, or the mount is gone; other failures must not leave anyone waiting.
      const isGone = ['ENOENT', 'ENODEV'].includes(systemErrorCode(error) ?? '');
      if (!isGone && errno === 0) this.answer(unique, ERRNO.EIO);
    }
  }

  /** Whoever still waits for the kernel gets an error. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    clearImmediate(this.#turn);
    this.#poll.close();
    closeSync(this.#fd);
    this.#ended.resolve();
  }

  #takeTurn(): void {
    this.#turn = undefined;
    for (let count = 0; count < REQUESTS_PER_TURN; count++) {
      const request = this.#next();
      if (!request) return;
      this.#onRequest(request);
    }
  }

  #next(): Request | undefined {
    if (!this.#isOpen) return undefined;
    for (;;) {
      const length = Number(read(this.#fd, this.#memory, this.#memory.length));
      if (length >= 0) return decodeRequest(this.#memory.subarray(0, length));
      const { code } = new SystemError('read');
      // A request was taken back before it was read.
      if (code === 'ENOENT' || code === 'EINTR') continue;
      if (code !== 'EAGAIN') this.close();
      return undefined;
    }
  }
}
