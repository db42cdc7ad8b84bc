/** One client of the server: the handshake, encrypted where the server asks for it, then requests. */
import type { Socket } from 'node:net';
import type { TlsOptions } from 'node:tls';
import { type Clock, CofferError, isCofferError, startDeadline } from '@coffer/base';
import { Connection } from './connection.ts';
import { decodeOptionHeader, encodeGreeting, OPTION_HEADER_SIZE_BYTES } from './handshake-codec.ts';
import { FIXED_NEWSTYLE, NO_ZEROES } from './protocol.ts';
import { type ServeOptions, serveRequests } from './server-requests.ts';
import { type ServerOffer, type ServerState, stepServer } from './server-handshake-machine.ts';
import { secureServer } from './tls.ts';

export interface ServerConnectionOptions extends ServeOptions {
  readonly offer: ServerOffer;
  readonly tls: TlsOptions | undefined;
  /** A client that has not chosen an export by then is left, in ms. */
  readonly handshakeTimeoutMs: number;
  readonly clock: Clock;
}

/** Serves a client until it leaves. Fails only by a broken invariant. */
export async function serveClient(socket: Socket, options: ServerConnectionOptions): Promise<void> {
  const first = new Connection(socket);
  let connection = first;
  const { clock, handshakeTimeoutMs } = options;
  const meetDeadline = startDeadline(clock, handshakeTimeoutMs, () =>
    connection.fail(new CofferError('nbd-timeout', { phase: 'handshake' })),
  );
  try {
    const agreed = await shakeHands(first, options, (secured) => (connection = secured));
    meetDeadline();
    if (agreed) await serveRequests(connection, agreed, options);
    await connection.end(clock);
  } catch (error) {
    if (!(error instanceof CofferError)) throw error;
    const failure = connection.failure ?? error;
    connection.fail(failure);
    // That clients leave is nothing to tell.
    if (!isCofferError(failure, 'nbd-unreachable')) options.onError(failure);
  } finally {
    meetDeadline();
  }
}

async function shakeHands(
  first: Connection,
  { offer, tls }: ServerConnectionOptions,
  onSecured: (connection: Connection) => void,
): Promise<Extract<ServerState, { phase: 'transmission' }> | undefined> {
  let connection = first;
  await connection.write(encodeGreeting(FIXED_NEWSTYLE | NO_ZEROES));
  const flags = (await connection.reader.read(4)).readUInt32BE(0);
  let step = stepServer({ phase: 'flags' }, { form: 'flags', flags }, offer);
  for (;;) {
    if (step.send.length > 0) await connection.write(step.send);
    if (step.startTls && tls) {
      connection = new Connection(await secureServer(connection.releaseSocket(), tls));
      onSecured(connection);
    }
    const { state } = step;
    if (state.phase === 'transmission') return state;
    if (state.phase === 'ended') return undefined;
    const header = decodeOptionHeader(await connection.reader.read(OPTION_HEADER_SIZE_BYTES));
    const option = { option: header.option, data: await connection.reader.read(header.length) };
    step = stepServer(state, { form: 'option', option }, offer);
  }
}
