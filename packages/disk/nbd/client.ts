/** Connects to exports of NBD servers. */
import { connect, type Socket } from 'node:net';
import { CofferError, startDeadline, systemErrorCode } from '@coffer/base';
import type { NbdAddress } from './address.ts';
import { ByteReader } from './byte-reader.ts';
import { ClientConnection, type ClientTimes } from './client-connection.ts';
import { type ClientWish, type NegotiatedExport, stepClient } from './client-handshake-machine.ts';
import { Connection } from './connection.ts';
import {
  decodeGreeting,
  decodeOptionReplyHeader,
  GREETING_SIZE_BYTES,
  invalid,
  OPTION_REPLY_HEADER_SIZE_BYTES,
} from './handshake-codec.ts';
import { enlargeSendBuffer, receiveInto } from './socket-calls.ts';
import { type NbdTls, secureClient } from './tls.ts';

export interface ConnectOptions extends ClientTimes {
  readonly address: NbdAddress;
  readonly tls: NbdTls | undefined;
  /** For the connection and the handshake together, in ms. */
  readonly connectTimeoutMs: number;
}

/** For headers and what comes with them: what is large goes straight to its place. */
const RECEIVE_BUFFER_SIZE_BYTES = 16 * 1024;

/** Connects to an export. Fails with `nbd-unreachable`, `nbd-refused`, `nbd-timeout` or `nbd-protocol`. */
export async function connectToExport(
  options: ConnectOptions,
  contexts: readonly string[],
): Promise<ClientConnection> {
  const { connection, negotiated } = await shakeHands(options, contexts);
  return new ClientConnection(connection, negotiated, options);
}

async function shakeHands(
  options: ConnectOptions,
  contexts: readonly string[],
): Promise<{ connection: Connection; negotiated: NegotiatedExport }> {
  const { address, tls, connectTimeoutMs, clock } = options;
  let connection = await open(options);
  /** Encrypted, and nothing has come since. */
  let isFreshlySecured = false;
  const meetDeadline = startDeadline(clock, connectTimeoutMs, () => {
    const seconds = connectTimeoutMs / 1000;
    connection.fail(new CofferError('nbd-timeout', { phase: 'handshake', seconds }));
  });
  try {
    const { exportName } = address;
    const wish: ClientWish = { tls: tls !== undefined, exportName, contexts };
    const flags = decodeGreeting(await connection.reader.read(GREETING_SIZE_BYTES));
    let step = stepClient({ phase: 'greeting' }, { form: 'greeting', flags }, wish);
    for (;;) {
      if (step.startTls && tls) {
        const host = address.place.form === 'tcp' ? address.place.host : 'localhost';
        connection = new Connection(await secureClient(connection.releaseSocket(), tls, host));
        isFreshlySecured = true;
      }
      if (step.send) await connection.write(step.send);
      const { state } = step;
      if (state.phase === 'ready') return { connection, negotiated: state.negotiated };
      step = stepClient(state, { form: 'reply', reply: await readReply(connection) }, wish);
      isFreshlySecured = false;
    }
  } catch (error) {
    const failure = connection.failure ?? error;
    connection.fail(invalid('given up'));
    if (!(failure instanceof CofferError)) throw failure;
    throw withPlace(isFreshlySecured ? turnedAway(failure) : failure, address);
  } finally {
    meetDeadline();
  }
}

/** With TLS 1.3 a client learns that its certificate does not count when it was encrypted already. */
function turnedAway(error: CofferError): CofferError {
  if (error.code !== 'nbd-unreachable') return error;
  const reason = 'TLS: the server closed the connection; it may not accept the certificate';
  return new CofferError('nbd-refused', { reason }, error);
}

async function readReply({
  reader,
}: Connection): Promise<{ option: number; type: number; data: Buffer }> {
  const header = await reader.read(OPTION_REPLY_HEADER_SIZE_BYTES);
  const { option, type, length } = decodeOptionReplyHeader(header);
  return { option, type, data: await reader.read(length) };
}

/** Says of which server an error tells. */
function withPlace(error: CofferError, { place }: NbdAddress): CofferError {
  const server = place.form === 'unix' ? place.path : `${place.host}:${place.port}`;
  return new CofferError(error.code, { server, ...error.details }, error);
}

async function open(options: ConnectOptions): Promise<Connection> {
  const { place } = options.address;
  const to = place.form === 'unix' ? { path: place.path } : { host: place.host, port: place.port };
  let socket: Socket;
  let reader: ByteReader | undefined;
  if (options.tls) {
    // TLS reads from the socket by itself, later.
    socket = connect(to);
  } else {
    const buffer = Buffer.allocUnsafeSlow(RECEIVE_BUFFER_SIZE_BYTES);
    // One buffer for all that comes: nothing is allocated, and nothing is left for the collector.
    const callback = (size: number): boolean => {
      reader?.feed(buffer.subarray(0, size));
      return true;
    };
    socket = connect({ ...to, onread: { buffer, callback } });
    const received = socket;
    reader = new ByteReader(socket, (target) => receiveInto(received, target));
  }
  await connected(socket, options);
  socket.setNoDelay(true);
  enlargeSendBuffer(socket);
  return new Connection(socket, reader, reader !== undefined);
}

async function connected(
  socket: Socket,
  { address, connectTimeoutMs, clock }: ConnectOptions,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const meetDeadline = startDeadline(clock, connectTimeoutMs, () => {
      socket.destroy();
      const seconds = connectTimeoutMs / 1000;
      reject(withPlace(new CofferError('nbd-timeout', { phase: 'connect', seconds }), address));
    });
    socket.once('connect', () => {
      meetDeadline();
      socket.removeAllListeners('error');
      resolve();
    });
    socket.once('error', (error) => {
      meetDeadline();
      const reason = systemErrorCode(error) ?? error.message;
      reject(withPlace(new CofferError('nbd-unreachable', { reason }, error), address));
    });
  });
}
