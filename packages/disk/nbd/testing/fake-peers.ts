/** Peers that do what a test says: servers and clients that lie, stop, or die. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { after } from 'node:test';
import { Connection } from '../connection.ts';
import {
  decodeOptionHeader,
  encodeClientFlags,
  encodeGo,
  encodeGreeting,
  encodeOption,
  encodeOptionReply,
  GREETING_SIZE_BYTES,
  OPTION_HEADER_SIZE_BYTES,
} from '../handshake-codec.ts';
import { EXPORT_FLAG, OPTION, REPLY, REQUEST_SIZE_BYTES } from '../protocol.ts';
import { type ServerOffer, type ServerState, stepServer } from '../server-handshake-machine.ts';
import type { NbdDisk, NbdDiskOptions } from '../nbd-disk.ts';
import {
  decodeRequest,
  encodeDataHead,
  encodeDone,
  encodeRequest,
  type Request,
} from '../transmission-codec.ts';
import { type Lab, openDisk, uriOf } from './lab.ts';

/** For scripts that have nothing more to do. */
export const never = new Promise<void>(() => {});
const EMPTY = Buffer.alloc(0);

export interface FakePeer {
  readonly connection: Connection;
  readonly socket: Socket;
}

/** Serves each client by the script; a script that fails ends its connection. */
export async function fakeServer(
  path: string,
  script: (peer: FakePeer) => Promise<void>,
): Promise<void> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    const connection = new Connection(socket);
    script({ connection, socket }).catch(() => socket.destroy());
  });
  server.listen(path);
  await once(server, 'listening');
  after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
}

/** The URI of a server that does what the script says. */
export async function served(
  lab: Lab,
  script: (connection: Connection) => Promise<void>,
): Promise<string> {
  const path = lab.newPath();
  await fakeServer(path, async ({ connection }) => await script(connection));
  return uriOf(path);
}

/** Of a server that goes its own way after an honest handshake. */
export async function diskOf(
  lab: Lab,
  script: (connection: Connection) => Promise<void>,
  more: Partial<NbdDiskOptions> = {},
): Promise<NbdDisk> {
  const uri = await served(lab, async (connection) => {
    await welcome(connection);
    await script(connection);
    await never;
  });
  return await openDisk(uri, more);
}

/** The last chunk of a read. */
export const dataChunk = (cookie: bigint, offset: number, length: number): Buffer =>
  Buffer.concat([encodeDataHead(cookie, BigInt(offset), length), Buffer.alloc(length, 1)]);

/** A chunk of any type, that is not the last one. */
export function chunk(cookie: bigint, type: number, payload: Buffer, flags = 0): Buffer {
  const head = encodeDone(cookie);
  head.writeUInt16BE(flags, 4);
  head.writeUInt16BE(type, 6);
  head.writeUInt32BE(payload.length, 16);
  return Buffer.concat([head, payload]);
}

/** An export of 1 MiB. */
export const OFFER: ServerOffer = {
  tls: 'none',
  exports: new Map([
    [
      '',
      {
        sizeBytes: 1024 * 1024,
        flags: EXPORT_FLAG.hasFlags | EXPORT_FLAG.flush | EXPORT_FLAG.writeZeroes,
        description: '',
        blockSizes: { min: 1, preferred: 4096, max: 32 * 1024 * 1024 },
      },
    ],
  ]),
};

/** Shakes hands as an honest server. */
export async function welcome(connection: Connection, offer = OFFER): Promise<void> {
  const flags = await greeted(connection);
  let state: ServerState = stepServer({ phase: 'flags' }, { form: 'flags', flags }, offer).state;
  while (state.phase === 'options') {
    const option = await nextOption(connection);
    const step = stepServer(state, { form: 'option', option }, offer);
    if (step.send.length > 0) await connection.write(step.send);
    ({ state } = step);
  }
}

/** Greets, and returns the flags of the client. */
export async function greeted(connection: Connection, flags = 3): Promise<number> {
  await connection.write(encodeGreeting(flags));
  return (await connection.reader.read(4)).readUInt32BE(0);
}

export async function nextOption(
  connection: Connection,
): Promise<{ option: number; data: Buffer }> {
  const header = decodeOptionHeader(await connection.reader.read(OPTION_HEADER_SIZE_BYTES));
  return { option: header.option, data: await connection.reader.read(header.length) };
}

export async function nextRequest(connection: Connection): Promise<Request> {
  return decodeRequest(await connection.reader.read(REQUEST_SIZE_BYTES));
}

export async function answerOption(
  connection: Connection,
  option: number,
  type: number,
  data: Buffer = EMPTY,
): Promise<void> {
  await connection.write(encodeOptionReply({ option, type, data }));
}

/** A client without any manners; it has read the greeting. */
export async function fakeClient(path: string): Promise<FakePeer> {
  const socket = connect(path);
  await once(socket, 'connect');
  const connection = new Connection(socket);
  await connection.reader.read(GREETING_SIZE_BYTES);
  return { connection, socket };
}

/** One that has chosen an export, and may send requests. */
export async function fakeUser(path: string, exportName = ''): Promise<FakePeer> {
  const peer = await fakeClient(path);
  const { connection } = peer;
  await connection.write(
    encodeClientFlags(3),
    encodeOption({ option: OPTION.structuredReply, data: EMPTY }),
  );
  await readOptionReply(connection);
  await connection.write(encodeOption({ option: OPTION.go, data: encodeGo(exportName, []) }));
  for (;;) {
    const { type } = await readOptionReply(connection);
    if (type === REPLY.ack) return peer;
  }
}

export async function readOptionReply(
  connection: Connection,
): Promise<{ type: number; data: Buffer }> {
  const header = await connection.reader.read(20);
  return {
    type: header.readUInt32BE(12),
    data: await connection.reader.read(header.readUInt32BE(16)),
  };
}

export function request(
  command: number,
  offset: number,
  length: number,
  more: { flags?: number; cookie?: bigint } = {},
): Buffer {
  const { flags = 0, cookie = 1n } = more;
  return encodeRequest({ flags, command, cookie, offset: BigInt(offset), length });
}

/** Resolves when the other side has closed the connection. */
export async function closed({ connection, socket }: FakePeer): Promise<void> {
  connection.reader.discard();
  socket.resume();
  if (!socket.closed) await once(socket, 'close');
}
