/**
 * The connections of a client to one export: a request goes where the fewest wait, and a server that
 * went away and came back is found again.
 *
 * Invariant: a request is repeated on a new connection only while nothing was written. A server that
 * went away may have lost what was written and not flushed, so a writer has to learn of it.
 */
import { CofferError, isCofferError } from '@coffer/base';
import { type ConnectOptions, connectToExport } from './client.ts';
import type { ClientConnection, ClientRequest } from './client-connection.ts';
import type { NegotiatedExport } from './client-handshake-machine.ts';
import { type CommandName, EXPORT_FLAG } from './protocol.ts';

export interface ConnectionsOptions extends ConnectOptions {
  /** How long a server that went away may take to come back, in ms; 0 for not at all. */
  readonly reconnectTimeoutMs: number;
}

/** More do not make one client faster. */
const CONNECTIONS_MAX = 4;
/** Servers that serve one client let the second wait: so long for what is good to have only. */
const MORE_TIMEOUT_MS = 1000;
const RECONNECT_DELAY_MS = 250;
/** A server that comes back and goes away at the same request again is not asked for ever. */
const ATTEMPTS_MAX = 3 * CONNECTIONS_MAX;

const CHANGES: ReadonlySet<CommandName> = new Set(['write', 'writeZeroes', 'trim']);

/** Connects once, and more often where the server allows that. Fails as `connectToExport`. */
export async function openConnections(
  options: ConnectionsOptions,
  contexts: readonly string[],
): Promise<ClientConnections> {
  const first = await connectToExport(options, contexts);
  const isShared = (first.negotiated.flags & EXPORT_FLAG.multiConn) !== 0;
  const more = isShared ? await connectMore(first.negotiated, options, contexts) : [];
  return new ClientConnections(options, contexts, [first, ...more]);
}

/** As many as the server takes: it may have a limit that it does not tell. */
async function connectMore(
  first: NegotiatedExport,
  options: ConnectionsOptions,
  contexts: readonly string[],
): Promise<ClientConnection[]> {
  const connectTimeoutMs = Math.min(options.connectTimeoutMs, MORE_TIMEOUT_MS);
  const attempts = Array.from({ length: CONNECTIONS_MAX - 1 }, () =>
    connectToExport({ ...options, connectTimeoutMs }, contexts),
  );
  const results = await Promise.allSettled(attempts);
  const connected = results.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  const others = connected.filter(({ negotiated }) => !isSame(negotiated, first));
  await Promise.all(others.map((each) => each.close()));
  return connected.filter((each) => !others.includes(each));
}

export class ClientConnections {
  readonly negotiated: NegotiatedExport;
  readonly #options: ConnectionsOptions;
  readonly #contexts: readonly string[];
  readonly #connections: ClientConnection[];
  /** Replacements of connections that ended, under way. */
  readonly #reconnecting = new Map<number, Promise<void>>();
  #wasWritten = false;
  #isClosed = false;

  constructor(
    options: ConnectionsOptions,
    contexts: readonly string[],
    connections: ClientConnection[],
  ) {
    this.#options = options;
    this.#contexts = contexts;
    this.#connections = connections;
    this.negotiated = connections[0]!.negotiated;
  }

  /** Fails as a request of one connection does, when no other connection can help. */
  async request(request: ClientRequest): Promise<void> {
    if (CHANGES.has(request.command)) this.#wasWritten = true;
    for (let attempt = 1; ; attempt++) {
      const connection = this.#leastBusy();
      try {
        await connection.request(request);
        return;
      } catch (error) {
        if (attempt === ATTEMPTS_MAX || !this.#mayRepeat(error)) throw this.#told(error);
        await this.#reconnect(connection);
      }
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled(this.#reconnecting.values());
    await Promise.all(this.#connections.map((connection) => connection.close()));
  }

  #leastBusy(): ClientConnection {
    return this.#connections.reduce((best, each) =>
      each.pendingCount < best.pendingCount ? each : best,
    );
  }

  #mayRepeat(error: unknown): boolean {
    const { reconnectTimeoutMs } = this.#options;
    return isLost(error) && !this.#wasWritten && !this.#isClosed && reconnectTimeoutMs > 0;
  }

  #told(error: unknown): unknown {
    if (!(error instanceof CofferError)) return error;
    const { exportName } = this.#options.address;
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
        this.#connections[index] = await this.#connectAgain();
        return;
      } catch (error) {
        if (!isLost(error) || clock.now() >= giveUpAt || this.#isClosed) throw this.#told(error);
      }
      await clock.sleep(RECONNECT_DELAY_MS);
    }
  }

  async #connectAgain(): Promise<ClientConnection> {
    const connection = await connectToExport(this.#options, this.#contexts);
    if (!this.#isClosed && isSame(connection.negotiated, this.negotiated)) return connection;
    await connection.close();
    const reason = this.#isClosed ? 'it was closed meanwhile' : 'the export is another one now';
    throw new CofferError(this.#isClosed ? 'interrupted' : 'source-changed', { reason });
  }
}

function isLost(error: unknown): boolean {
  return isCofferError(error, 'nbd-unreachable') || isCofferError(error, 'nbd-timeout');
}

function isSame(a: NegotiatedExport, b: NegotiatedExport): boolean {
  const names = [...b.contexts.keys()];
  return (
    a.sizeBytes === b.sizeBytes &&
    names.every((name) => a.contexts.get(name) === b.contexts.get(name))
  );
}
