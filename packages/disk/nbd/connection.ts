/** A connection to an NBD peer, before and after it is encrypted: exact reads, joined writes. */
import { type Socket } from 'node:net';
import { type Clock, CofferError, startDeadline, systemErrorCode } from '@coffer/base';
import { ByteReader } from './byte-reader.ts';

/** A peer that does not close its side by then is left. */
const END_TIMEOUT_MS = 2000;

export class Connection {
  readonly reader: ByteReader;
  readonly #socket: Socket;
  readonly #onData: (piece: Buffer) => void;
  readonly #onError: (error: Error) => void;
  readonly #onEnd: () => void;
  #failure: CofferError | undefined;
  readonly #onFailure: ((error: CofferError) => void)[] = [];

  /** The socket is open. Where it fills buffers of its own, `feedsItself` says so. */
  constructor(socket: Socket, reader = new ByteReader(socket), feedsItself = false) {
    this.#socket = socket;
    this.reader = reader;
    this.#onData = (piece) => this.reader.feed(piece);
    this.#onError = (error) => this.fail(lostBy(error));
    this.#onEnd = () => this.fail(lost('the peer closed the connection'));
    if (!feedsItself) socket.on('data', this.#onData);
    socket.on('error', this.#onError);
    socket.on('end', this.#onEnd);
    socket.on('close', this.#onEnd);
  }

  get failure(): CofferError | undefined {
    return this.#failure;
  }

  /** Called once, with why the connection ended; at once when it has ended already. */
  onFailure(listener: (error: CofferError) => void): void {
    if (this.#failure) listener(this.#failure);
    else this.#onFailure.push(listener);
  }

  /** Resolves when the system has taken the bytes; then the buffers may be used again. */
  async write(...pieces: readonly Uint8Array[]): Promise<void> {
    if (this.#failure) throw this.#failure;
    await new Promise<void>((resolve, reject) => {
      this.#socket.cork();
      const last = pieces.length - 1;
      pieces.forEach((piece, index) => {
        if (index < last) this.#socket.write(piece);
        else this.#socket.write(piece, (error) => (error ? reject(lostBy(error)) : resolve()));
      });
      this.#socket.uncork();
    });
  }

  /** Ends the connection at once; what waits for it fails with the error. */
  fail(error: CofferError): void {
    if (this.#failure) return;
    this.#failure = error;
    this.#socket.destroy();
    this.reader.fail(error);
    for (const listener of this.#onFailure) listener(error);
  }

  /** Ends the connection after what was written is sent; what still comes is of no interest. */
  async end(clock: Clock): Promise<void> {
    this.reader.discard();
    if (this.#socket.closed) return;
    await new Promise<void>((resolve) => {
      const meetDeadline = startDeadline(clock, END_TIMEOUT_MS, () => this.#socket.destroy());
      this.#socket.once('close', () => {
        meetDeadline();
        resolve();
      });
      this.#socket.end();
      this.#socket.resume();
    });
  }

  /**
   * Gives the socket away, to be encrypted. Fails when bytes have come already: they were sent in
   * the clear, perhaps by somebody in between, and must not count as encrypted.
   */
  releaseSocket(): Socket {
    if (this.#failure) throw this.#failure;
    if (this.reader.hasBytes || this.#socket.readableLength > 0) {
      throw new CofferError('nbd-protocol', { reason: 'bytes in the clear after TLS was agreed' });
    }
    this.#socket.off('data', this.#onData);
    this.#socket.off('end', this.#onEnd);
    this.#socket.off('close', this.#onEnd);
    return this.#socket;
  }
}

function lost(reason: string, cause?: unknown): CofferError {
  return new CofferError('nbd-unreachable', { reason }, cause);
}

/** An alert of TLS, or bytes that are none of it, is a refusal; other errors are of the network. */
function lostBy(error: Error): CofferError {
  const code = systemErrorCode(error);
  if (code?.startsWith('ERR_SSL_')) {
    return new CofferError('nbd-refused', { reason: `TLS: ${code}` }, error);
  }
  return lost(code ?? error.message, error);
}
