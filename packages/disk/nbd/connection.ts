/** A connection to an NBD peer, before and after it is encrypted: exact reads, joined writes. */
import { type Socket } from 'node:net';
import { CofferError, systemErrorCode } from '@coffer/base';
import { ByteReader } from './byte-reader.ts';

export class Connection {
  readonly reader: ByteReader;
  readonly #socket: Socket;
  readonly #feed: (piece: Buffer) => void;
  #failure: CofferError | undefined;
  readonly #onFailure: ((error: CofferError) => void)[] = [];

  /** The socket is open. Where it fills buffers of its own, `feedsItself` says so. */
  constructor(socket: Socket, reader = new ByteReader(socket), feedsItself = false) {
    this.#socket = socket;
    this.reader = reader;
    this.#feed = (piece) => this.reader.feed(piece);
    if (!feedsItself) socket.on('data', this.#feed);
    socket.on('error', (error) => this.fail(lost(systemErrorCode(error) ?? error.message, error)));
    socket.on('close', () => this.fail(lost('the peer closed the connection')));
    socket.on('end', () => this.fail(lost('the peer closed the connection')));
    socket.setMaxListeners(0);
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

  /** Ends the connection after what was written is sent. */
  async end(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      if (this.#socket.closed) resolve();
      else this.#socket.once('close', resolve);
    });
    this.#socket.end();
    this.#socket.resume();
    await closed;
  }

  /**
   * Gives the socket away, to be encrypted. Fails when bytes have come already: they were sent in
   * the clear, perhaps by somebody in between, and must not count as encrypted.
   */
  releaseSocket(): Socket {
    if (this.reader.hasBytes) {
      throw new CofferError('nbd-protocol', { reason: 'bytes in the clear after TLS was agreed' });
    }
    this.#socket.removeAllListeners();
    return this.#socket;
  }
}

function lost(reason: string, cause?: unknown): CofferError {
  return new CofferError('nbd-unreachable', { reason }, cause);
}

function lostBy(error: Error): CofferError {
  return lost(systemErrorCode(error) ?? error.message, error);
}
