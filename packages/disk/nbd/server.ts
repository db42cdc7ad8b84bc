/** Serves disks over NBD, on a unix socket or a TCP port, to any number of clients up to a limit. */
import { once } from 'node:events';
import { lstatSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { type Clock, CofferError, systemClock, systemErrorCode } from '@coffer/base';
import type { Disk, WritableDisk } from '../disk.ts';
import { checkedExportName, checkedSocketPath, type NbdPlace } from './address.ts';
import { BufferPool } from './buffer-pool.ts';
import { listenPrivately } from './private-socket.ts';
import { EXPORT_FLAG, PAYLOAD_SIZE_MAX } from './protocol.ts';
import { enlargeSendBuffer } from './socket-calls.ts';
import { type ServerConnectionOptions, serveClient } from './server-connection.ts';
import type { OfferedExport, ServerOffer } from './server-handshake-machine.ts';
import type { ServedExport } from './server-requests.ts';
import { type NbdTls, serverTlsOptions } from './tls.ts';

/** A disk to be served under a name. */
export type NbdExport = {
  readonly name: string;
  readonly description?: string;
  /** What a read costs least; 4 KiB where nothing is said. */
  readonly preferredSizeBytes?: number;
} & (
  | { readonly disk: WritableDisk; readonly readOnly: false }
  | { readonly disk: Disk; readonly readOnly: true }
);

export interface NbdServerOptions {
  readonly exports: readonly NbdExport[];
  readonly place: NbdPlace;
  readonly tls?: NbdTls | undefined;
  /** A client that has not chosen an export by then is left, in ms; 10 s where nothing is said. */
  readonly handshakeTimeoutMs?: number;
  /** That of the system unless told otherwise. */
  readonly clock?: Clock;
  /** Told of what a client hears of as an error number only. */
  readonly onError: (error: CofferError) => void;
}

export interface NbdServer {
  /** With the port that was given where 0 was asked for. */
  readonly place: NbdPlace;
  /** Ends all connections; disks stay open. */
  close(): Promise<void>;
}

const HANDSHAKE_TIMEOUT_MS = 10_000;
/** A client that lost its power, or its cable, must not hold its place for ever. */
const KEEP_ALIVE_MS = 60_000;
/** A client uses a few; each holds a bounded number of requests. */
const CONNECTIONS_MAX = 64;
const COMMON_FLAGS =
  EXPORT_FLAG.hasFlags |
  EXPORT_FLAG.flush |
  EXPORT_FLAG.fua |
  EXPORT_FLAG.doNotFragment |
  EXPORT_FLAG.multiConn |
  EXPORT_FLAG.cache;

/** Fails with `usage`, and with `target-unwritable` when the place cannot be listened on. */
export async function startNbdServer(options: NbdServerOptions): Promise<NbdServer> {
  const { handshakeTimeoutMs = HANDSHAKE_TIMEOUT_MS, clock = systemClock, onError } = options;
  const tls = options.tls && serverTlsOptions(options.tls);
  checkNames(options.exports);
  const offer: ServerOffer = {
    exports: new Map(options.exports.map((each) => [each.name, offered(each)])),
    tls: tls ? 'required' : 'none',
  };
  const exports = new Map(options.exports.map((each) => [each.name, served(each)]));
  const buffers = new BufferPool();
  const limits = { handshakeTimeoutMs, clock };
  const listener = new Listener({ offer, exports, buffers, tls, ...limits, onError });
  return await listener.listen(options.place);
}

function checkNames(exports: readonly NbdExport[]): void {
  const names = new Set<string>();
  for (const { name } of exports) {
    checkedExportName(name);
    if (names.has(name))
      throw new CofferError('usage', { export: name, reason: 'it is there twice' });
    names.add(name);
  }
}

function offered({
  disk,
  readOnly,
  description = '',
  preferredSizeBytes,
}: NbdExport): OfferedExport {
  const changes = EXPORT_FLAG.trim | EXPORT_FLAG.writeZeroes;
  return {
    sizeBytes: disk.sizeBytes,
    flags: COMMON_FLAGS | (readOnly ? EXPORT_FLAG.readOnly : changes),
    description,
    blockSizes: { min: 1, preferred: preferredSizeBytes ?? 4096, max: PAYLOAD_SIZE_MAX },
  };
}

function served(each: NbdExport): ServedExport {
  if (!each.readOnly) return { disk: each.disk, readOnly: false };
  return { disk: asReadOnly(each.disk), readOnly: true };
}

/** A disk that has nothing to flush; writes are refused before they reach it. */
function asReadOnly(disk: Disk): WritableDisk {
  const refuse = (): Promise<void> => Promise.reject(new CofferError('target-unwritable'));
  return {
    sizeBytes: disk.sizeBytes,
    read: (offset, target) => disk.read(offset, target),
    extents: (range) => disk.extents(range),
    write: refuse,
    zero: refuse,
    flush: () => Promise.resolve(),
    close: () => disk.close(),
  };
}

class Listener {
  readonly #options: ServerConnectionOptions;
  readonly #sockets = new Set<Socket>();
  readonly #clients = new Set<Promise<void>>();
  readonly #server: Server;
  #removeName = (): void => {};

  constructor(options: ServerConnectionOptions) {
    this.#options = options;
    this.#server = createServer((socket) => this.#welcome(socket));
    this.#server.maxConnections = CONNECTIONS_MAX;
  }

  async listen(place: NbdPlace): Promise<NbdServer> {
    if (place.form === 'unix') await removeStaleSocket(checkedSocketPath(place.path));
    try {
      this.#removeName = await this.#listenAt(place);
    } catch (error) {
      throw unlistenable(place, error);
    }
    // From now on it says that a client could not be let in; the others stay.
    this.#server.on('error', (error) => this.#options.onError(unlistenable(place, error)));
    return { place: this.#placeOf(place), close: () => this.#close() };
  }

  /** What is in a backup is nobody else's: not of those who share the machine, either. */
  async #listenAt(place: NbdPlace): Promise<() => void> {
    if (place.form === 'unix') return await listenPrivately(this.#server, place.path);
    const listening = once(this.#server, 'listening');
    this.#server.listen(place.port, place.host);
    await listening;
    return () => {};
  }

  #placeOf(place: NbdPlace): NbdPlace {
    const address = this.#server.address();
    if (place.form === 'unix' || address === null || typeof address === 'string') return place;
    return { ...place, port: address.port };
  }

  #welcome(socket: Socket): void {
    socket.setNoDelay(true);
    enlargeSendBuffer(socket);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    const client = serveClient(socket, this.#options).catch((error: unknown) => {
      socket.destroy();
      this.#options.onError(new CofferError('internal', {}, error));
    });
    this.#clients.add(client);
    void client.then(() => this.#clients.delete(client));
  }

  async #close(): Promise<void> {
    // While it still listens: afterwards the name may be that of another server.
    this.#removeName();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(this.#clients);
    await closed;
  }
}

/** A socket that nobody listens on was left by a process that died. */
async function removeStaleSocket(path: string): Promise<void> {
  const refuse = (reason: string | undefined): CofferError =>
    new CofferError('target-unwritable', { path, reason });
  let isSocket: boolean;
  try {
    isSocket = lstatSync(path).isSocket();
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return;
    throw refuse(systemErrorCode(error));
  }
  if (!isSocket) throw refuse('it exists and is no socket');
  const answer = await knock(path);
  if (answer !== 'ECONNREFUSED') throw refuse(`another program listens there (${answer})`);
  unlinkSync(path);
}

/** How connecting ends: `connected`, or the code of the error. */
async function knock(path: string): Promise<string | undefined> {
  return await new Promise((resolve) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve('connected');
    });
    socket.once('error', (error) => resolve(systemErrorCode(error)));
  });
}

function unlistenable(place: NbdPlace, error: unknown): CofferError {
  const where = place.form === 'unix' ? place.path : `${place.host}:${place.port}`;
  const reason = systemErrorCode(error) ?? String(error);
  return new CofferError('target-unwritable', { place: where, reason }, error);
}
