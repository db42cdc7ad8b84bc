/**
 * An NBD export as a disk. Large reads and writes are cut into requests, which run at once over
 * several connections where the server allows that.
 *
 * Invariant: a request is repeated on a new connection only while nothing was written. A server that
 * went away may have lost what was written and not flushed, so a writer has to learn of it.
 */
import { type Clock, CofferError, isCofferError, mapBounded } from '@coffer/base';
import { type ByteRange, type Extent, wholeOf, type WritableDisk } from '../disk.ts';
import { type ConnectOptions, connectToExport } from './client.ts';
import type { ClientConnection, ClientRequest } from './client-connection.ts';
import type { NegotiatedExport } from './client-handshake-machine.ts';
import { invalid } from './handshake-codec.ts';
import {
  ALLOCATION,
  BASE_ALLOCATION,
  EXPORT_FLAG,
  LENGTH_MAX,
  PAYLOAD_SIZE_MAX,
} from './protocol.ts';
import type { StatusDescriptor } from './transmission-codec.ts';

export interface NbdDiskOptions extends ConnectOptions {
  readonly writable: boolean;
  /** Contexts that are asked for besides `base:allocation`, for example `qemu:dirty-bitmap:vda`. */
  readonly contexts?: readonly string[];
  /** How long a server that went away may take to come back, in ms; 0 for not at all. */
  readonly reconnectTimeoutMs: number;
  readonly clock: Clock;
}

export interface ContextExtent extends ByteRange {
  /** What the flags say is a matter of the context. */
  readonly flags: number;
}

/** More do not make one client faster. */
const CONNECTIONS_MAX = 4;
/** What nbdcopy sends, too: large enough to cost little, small enough to be many at once. */
const REQUEST_SIZE_BYTES = 256 * 1024;
const REQUESTS_AT_ONCE = 32;
const ZEROES_SIZE_MAX = 1024 * 1024 * 1024;
const RECONNECT_DELAY_MS = 250;
const ZEROES = Buffer.alloc(REQUEST_SIZE_BYTES);

/** Opens an export. Fails as `connectToExport`, and with `target-unwritable` when it is read-only. */
export async function openNbdDisk(options: NbdDiskOptions): Promise<NbdDisk> {
  const contexts = [BASE_ALLOCATION, ...(options.contexts ?? [])];
  const connect = async (): Promise<ClientConnection> => await connectToExport(options, contexts);
  const first = await connect();
  try {
    const { flags } = first.negotiated;
    if (options.writable && (flags & EXPORT_FLAG.readOnly) !== 0) {
      const { exportName } = options.address;
      throw new CofferError('target-unwritable', { export: exportName, reason: 'read-only' });
    }
    const more = (flags & EXPORT_FLAG.multiConn) !== 0 ? CONNECTIONS_MAX - 1 : 0;
    const others = await mapBounded(Array.from({ length: more }), more || 1, connect);
    return new NbdDisk(options, connect, [first, ...others]);
  } catch (error) {
    await first.close();
    throw error;
  }
}

export class NbdDisk implements WritableDisk {
  readonly sizeBytes: number;
  readonly negotiated: NegotiatedExport;
  readonly #options: NbdDiskOptions;
  readonly #connect: () => Promise<ClientConnection>;
  readonly #connections: ClientConnection[];
  /** Replacements of connections that ended, under way. */
  readonly #reconnecting = new Map<number, Promise<void>>();
  #wasWritten = false;
  #isClosed = false;

  constructor(
    options: NbdDiskOptions,
    connect: () => Promise<ClientConnection>,
    connections: ClientConnection[],
  ) {
    this.#options = options;
    this.#connect = connect;
    this.#connections = connections;
    this.negotiated = connections[0]!.negotiated;
    this.sizeBytes = this.negotiated.sizeBytes;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    const inside = this.#aligned(offset, target.length);
    if (inside.offset !== offset || inside.length !== target.length) {
      const whole = Buffer.allocUnsafe(inside.length);
      await this.read(inside.offset, whole);
      target.set(whole.subarray(offset - inside.offset, offset - inside.offset + target.length));
      return;
    }
    await this.#pieces(offset, target.length, async (place, length) => {
      const part = target.subarray(place, place + length);
      await this.#request({ command: 'read', offset: offset + place, length, target: part });
    });
  }

  async *extents(range: ByteRange = wholeOf(this)): AsyncGenerator<Extent> {
    if (!this.negotiated.contexts.has(BASE_ALLOCATION)) {
      if (range.length > 0) yield { ...range, kind: 'data' };
      return;
    }
    for await (const { offset, length, flags } of this.contextExtents(BASE_ALLOCATION, range)) {
      yield { offset, length, kind: (flags & ALLOCATION.zero) !== 0 ? 'zero' : 'data' };
    }
  }

  /** What a context that was granted says of a range, in order and without gaps. */
  async *contextExtents(context: string, range: ByteRange): AsyncGenerator<ContextExtent> {
    const id = this.negotiated.contexts.get(context);
    if (id === undefined) {
      throw new CofferError('nbd-refused', { context, reason: 'the server does not grant it' });
    }
    const end = range.offset + range.length;
    let { offset } = range;
    while (offset < end) {
      for (const { length, flags } of await this.#status(id, offset, end - offset)) {
        // The last extent may go on beyond what was asked for.
        const inside = Math.min(length, end - offset);
        if (inside > 0) yield { offset, length: inside, flags };
        offset += inside;
      }
    }
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    this.#wasWritten = true;
    const { min } = this.#blockSizes();
    if (offset % min !== 0 || bytes.length % min !== 0) {
      const reason = `the server takes writes of whole blocks of ${min} bytes only`;
      throw new CofferError('target-unwritable', { offset, length: bytes.length, reason });
    }
    await this.#pieces(offset, bytes.length, async (place, length) => {
      const payload = bytes.subarray(place, place + length);
      await this.#request({ command: 'write', offset: offset + place, length, payload });
    });
  }

  async zero(offset: number, length: number): Promise<void> {
    this.#wasWritten = true;
    const isKnown = (this.negotiated.flags & EXPORT_FLAG.writeZeroes) !== 0;
    const step = isKnown ? ZEROES_SIZE_MAX : ZEROES.length;
    for (let done = 0; done < length; done += step) {
      const place = { offset: offset + done, length: Math.min(step, length - done) };
      if (isKnown) await this.#request({ command: 'writeZeroes', ...place });
      else await this.write(place.offset, ZEROES.subarray(0, place.length));
    }
  }

  async flush(): Promise<void> {
    if ((this.negotiated.flags & EXPORT_FLAG.flush) === 0) return;
    await this.#request({ command: 'flush', offset: 0, length: 0 });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(this.#connections.map((connection) => connection.close()));
  }

  async #status(id: number, offset: number, length: number): Promise<StatusDescriptor[]> {
    let found: StatusDescriptor[] = [];
    await this.#request({
      command: 'blockStatus',
      offset,
      length: Math.min(length, LENGTH_MAX),
      onStatus: (contextId, descriptors) => {
        if (contextId === id) found = descriptors;
      },
    });
    if (found.length === 0) throw invalid('a status without a word on the context');
    return found;
  }

  #blockSizes(): { min: number; max: number } {
    const { min = 1, max = PAYLOAD_SIZE_MAX } = this.negotiated.blockSizes ?? {};
    return { min, max };
  }

  /** The smallest range of whole blocks around a range. */
  #aligned(offset: number, length: number): ByteRange {
    const { min } = this.#blockSizes();
    const start = Math.floor(offset / min) * min;
    const end = Math.min(Math.ceil((offset + length) / min) * min, this.sizeBytes);
    return { offset: start, length: Math.max(end - start, length) };
  }

  /** Cuts a range into requests that begin at multiples of their size, so that blocks stay whole. */
  async #pieces(
    offset: number,
    total: number,
    move: (place: number, length: number) => Promise<void>,
  ): Promise<void> {
    const { max } = this.#blockSizes();
    const step = Math.min(REQUEST_SIZE_BYTES, 2 ** Math.floor(Math.log2(max)));
    const first = Math.min(total, step - (offset % step));
    if (first === total) {
      await move(0, total);
      return;
    }
    const places = [0];
    for (let place = first; place < total; place += step) places.push(place);
    await mapBounded(places, REQUESTS_AT_ONCE, async (place) => {
      await move(place, place === 0 ? first : Math.min(step, total - place));
    });
  }

  async #request(request: ClientRequest): Promise<void> {
    for (;;) {
      const connection = this.#leastBusy();
      try {
        await connection.request(request);
        return;
      } catch (error) {
        if (!this.#mayRepeat(error)) throw this.#told(error);
        await this.#reconnect(connection);
      }
    }
  }

  /** Of several connections the one that waits for the fewest answers. */
  #leastBusy(): ClientConnection {
    return this.#connections.reduce((best, each) =>
      each.pendingCount < best.pendingCount ? each : best,
    );
  }

  #mayRepeat(error: unknown): boolean {
    const isLost = isCofferError(error, 'nbd-unreachable') || isCofferError(error, 'nbd-timeout');
    const { reconnectTimeoutMs } = this.#options;
    return isLost && !this.#wasWritten && !this.#isClosed && reconnectTimeoutMs > 0;
  }

  #told(error: unknown): unknown {
    if (!(error instanceof CofferError)) return error;
    const { exportName } = this.#options.address;
    if (error.code === 'nbd-failed' && error.details['error'] === 'ENOSPC') {
      return new CofferError('target-full', { export: exportName, ...error.details }, error);
    }
    return new CofferError(error.code, { export: exportName, ...error.details }, error);
  }

  /** Replaces a connection that ended; all who lost it wait for one replacement. */
  async #reconnect(lost: ClientConnection): Promise<void> {
    const index = this.#connections.indexOf(lost);
    if (index < 0) return;
    const running = this.#reconnecting.get(index) ?? this.#replace(index);
    this.#reconnecting.set(index, running);
    try {
      await running;
    } finally {
      this.#reconnecting.delete(index);
    }
  }

  async #replace(index: number): Promise<void> {
    const { clock, reconnectTimeoutMs } = this.#options;
    const giveUpAt = clock.now() + reconnectTimeoutMs;
    for (;;) {
      try {
        const connection = await this.#connect();
        if (!isSame(connection.negotiated, this.negotiated)) {
          await connection.close();
          throw new CofferError('source-changed', { reason: 'the export is another one now' });
        }
        this.#connections[index] = connection;
        return;
      } catch (error) {
        const isGone =
          isCofferError(error, 'nbd-unreachable') || isCofferError(error, 'nbd-timeout');
        if (!isGone || clock.now() >= giveUpAt || this.#isClosed) throw this.#told(error);
      }
      await clock.sleep(RECONNECT_DELAY_MS);
    }
  }
}

function isSame(a: NegotiatedExport, b: NegotiatedExport): boolean {
  const names = [...b.contexts.keys()];
  return (
    a.sizeBytes === b.sizeBytes &&
    names.every((name) => a.contexts.get(name) === b.contexts.get(name))
  );
}
