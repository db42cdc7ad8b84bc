/** A server that says what a test wants, where a real one would not. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  encodeMessage,
  type Message,
  MESSAGE_STATUS,
  MESSAGE_TYPE,
  MessageSplitter,
} from '../message-codec.ts';
import { XdrWriter } from '../xdr-codec.ts';

const AUTH_LIST = 66;
const OPEN = 1;
export const NOTHING = Buffer.alloc(0);

/** Answers a message that came, or does not. */
export type Behaviour = (message: Message, peer: Peer) => void;

export class Peer {
  readonly socket: Socket;

  constructor(socket: Socket) {
    this.socket = socket;
  }

  reply(to: Message, payload: Buffer, status: number = MESSAGE_STATUS.ok): void {
    this.send({ ...to, type: MESSAGE_TYPE.reply, status, payload });
  }

  stream(to: Message, payload: Buffer, status: number = MESSAGE_STATUS.more): void {
    this.send({ ...to, type: MESSAGE_TYPE.stream, status, payload });
  }

  send({ payload, ...header }: Message): void {
    this.socket.write(encodeMessage(header, payload));
  }
}

export class FakeServer {
  readonly uri: string;
  /** The procedures that were called, in order. */
  readonly called: number[] = [];
  readonly #folder: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(folder: string, behave: Behaviour, ways: readonly number[]) {
    this.#folder = folder;
    this.uri = `qemu+unix:///session?socket=${join(folder, 's')}`;
    this.#server = createServer((socket) => this.#serve(socket, behave, ways));
  }

  /** Lets everybody in who takes one of the ways of authentication, then behaves as it is told. */
  static async start(behave: Behaviour, ways: readonly number[] = [0]): Promise<FakeServer> {
    const folder = mkdtempSync(join(tmpdir(), 'lv-'));
    const server = new FakeServer(folder, behave, ways);
    await new Promise<void>((resolve) => server.#server.listen(join(folder, 's'), resolve));
    return server;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.#folder, { recursive: true });
  }

  #serve(socket: Socket, behave: Behaviour, ways: readonly number[]): void {
    const splitter = new MessageSplitter();
    const peer = new Peer(socket);
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (piece) => {
      for (const message of splitter.feed(piece)) {
        const isCall = message.type === MESSAGE_TYPE.call;
        if (isCall) this.called.push(message.procedure);
        if (isCall && message.procedure === AUTH_LIST) peer.reply(message, authentications(ways));
        else if (isCall && message.procedure === OPEN) peer.reply(message, NOTHING);
        else behave(message, peer);
      }
    });
  }
}

function authentications(ways: readonly number[]): Buffer {
  const writer = new XdrWriter();
  return writer.array(ways, (way) => writer.i32(way)).finish();
}

export function text(value: string): Buffer {
  return new XdrWriter().text(value).finish();
}
