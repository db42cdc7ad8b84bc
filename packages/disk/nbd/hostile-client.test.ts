/** Our server, and clients that lie, stop, or want too much. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  type Clock,
  type CofferError,
  type ErrorCode,
  seededRandom,
  systemClock,
} from '@coffer/base';
import { heldClock } from '@coffer/base/testing/held-clock.ts';
import { encodeClientFlags, encodeOption } from './handshake-codec.ts';
import { COMMAND, OPTION, REPLY } from './protocol.ts';
import { closed, fakeClient, fakeUser, readOptionReply, request } from './testing/fake-peers.ts';
import { fails, memoryDisk, MIB, nbdLab, openDisk, readAll } from './testing/lab.ts';
import type { WritableDisk } from '../disk.ts';

const lab = nbdLab();
const contents = seededRandom(1).bytes(MIB);

interface Served {
  readonly socket: string;
  readonly uri: string;
  readonly codes: () => ErrorCode[];
  /** Fails unless a client is served as ever, and the server can be closed. */
  readonly isWell: () => Promise<void>;
}

async function serve(
  disk: WritableDisk = memoryDisk(Buffer.from(contents)),
  more: { handshakeTimeoutMs?: number; clock?: Clock } = {},
): Promise<Served> {
  const errors: CofferError[] = [];
  const server = await lab.serve({
    exports: [{ name: '', disk, readOnly: false }],
    onError: (error) => void errors.push(error),
    ...more,
  });
  return {
    ...server,
    codes: () => errors.map(({ code }) => code),
    async isWell() {
      const client = await openDisk(server.uri);
      assert.equal((await readAll(client)).length, disk.sizeBytes);
      await client.close();
      await server.close();
    },
  };
}

const raw = (magic: bigint, a: number, b: number): Buffer => {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64BE(magic);
  bytes.writeUInt32BE(a, 8);
  bytes.writeUInt32BE(b, 12);
  return bytes;
};

test('a handshake that is none ends the connection', async () => {
  const server = await serve();
  const flags = encodeClientFlags(3);
  const beginnings = [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    encodeClientFlags(7),
    encodeClientFlags(2),
    Buffer.concat([flags, raw(1n, OPTION.go, 0)]),
    Buffer.concat([flags, raw(0x49484156454f5054n, OPTION.go, 0xffffffff)]),
    Buffer.concat([flags, encodeOption({ option: OPTION.exportName, data: Buffer.from('no') })]),
  ];
  for (const bytes of beginnings) {
    const peer = await fakeClient(server.socket);
    await peer.connection.write(bytes);
    await closed(peer);
  }
  assert.deepEqual([...new Set(server.codes())], ['nbd-protocol']);
  await server.isWell();
});

test('a client that asks for options without end is sent away', async () => {
  const server = await serve();
  const peer = await fakeClient(server.socket);
  const option = encodeOption({ option: 99, data: Buffer.alloc(100) });
  await peer.connection.write(encodeClientFlags(3));
  await peer.connection.write(...Array.from({ length: 200 }, () => option));
  await closed(peer);
  await server.isWell();
});

test('options that are not valid are answered, and a valid one after them counts', async () => {
  const server = await serve();
  const { connection } = await fakeClient(server.socket);
  await connection.write(encodeClientFlags(3));
  const ask = async (option: number, data: Buffer): Promise<number> => {
    await connection.write(encodeOption({ option, data }));
    return (await readOptionReply(connection)).type;
  };
  const none = Buffer.alloc(0);
  assert.equal(await ask(OPTION.go, none), REPLY.invalid);
  assert.equal(await ask(OPTION.go, Buffer.from([255, 255, 255, 255, 0, 0])), REPLY.invalid);
  assert.equal(await ask(OPTION.setMetaContext, none), REPLY.invalid);
  assert.equal(await ask(OPTION.structuredReply, Buffer.alloc(1)), REPLY.invalid);
  assert.equal(await ask(OPTION.list, Buffer.alloc(1)), REPLY.invalid);
  assert.equal(await ask(OPTION.startTls, none), REPLY.policy);
  assert.equal(await ask(77, Buffer.alloc(65_536)), REPLY.unsupported);
  assert.equal(await ask(OPTION.structuredReply, none), REPLY.ack);
  assert.equal(await ask(OPTION.abort, none), REPLY.ack);
  await server.isWell();
});

test('a client that is silent in the handshake is left', async () => {
  const handshakeTimeoutMs = 60_000;
  const clock = heldClock();
  const server = await serve(undefined, { handshakeTimeoutMs, clock });
  const silent = await fakeClient(server.socket);
  const half = await fakeClient(server.socket);
  await half.connection.write(encodeClientFlags(3), raw(0x49484156454f5054n, OPTION.go, 100));
  // The server has greeted both, and reads what there is before it waits for more.
  await nextTurn();
  await nextTurn();
  clock.pass(handshakeTimeoutMs);
  await Promise.all([closed(silent), closed(half)]);
  assert.deepEqual(server.codes(), ['nbd-timeout', 'nbd-timeout']);
  await server.isWell();
});

test('what comes after the client said that it leaves is of no interest', async () => {
  const server = await serve();
  const user = await fakeUser(server.socket);
  const more = Buffer.alloc(MIB, 0xff);
  await user.connection.write(request(COMMAND.disconnect, 0, 0), more).catch(() => {});
  await closed(user);
  const leaving = await fakeClient(server.socket);
  const abort = encodeOption({ option: OPTION.abort, data: Buffer.alloc(0) });
  await leaving.connection.write(encodeClientFlags(3), abort, more).catch(() => {});
  await closed(leaving);
  assert.deepEqual(server.codes(), []);
  await server.isWell();
});

test('a request without its magic, or a write too large, ends the connection', async () => {
  const server = await serve();
  for (const bytes of [Buffer.alloc(28, 1), request(COMMAND.write, 0, 0xffffffff)]) {
    const user = await fakeUser(server.socket);
    await user.connection.write(bytes);
    await closed(user);
  }
  assert.deepEqual(server.codes(), ['nbd-protocol', 'nbd-protocol']);
  await server.isWell();
});

test('half a request changes nothing', async () => {
  const bytes = Buffer.from(contents);
  const server = await serve(memoryDisk(bytes));
  const user = await fakeUser(server.socket);
  await user.connection.write(request(COMMAND.write, 0, 4096), Buffer.alloc(4095, 9));
  await user.connection.end(systemClock);
  const other = await fakeUser(server.socket);
  await other.connection.write(request(COMMAND.write, 0, 4096).subarray(0, 20));
  other.socket.destroy();
  await server.isWell();
  assert.ok(bytes.equals(contents));
  assert.deepEqual(server.codes(), []);
});

test('requests of unknown kinds and at impossible places are refused one by one', async () => {
  const server = await serve();
  const { connection, socket } = await fakeUser(server.socket);
  const requests = [
    request(99, 0, 0),
    request(COMMAND.read, 2 ** 53 - 1, 0xffffffff),
    request(COMMAND.blockStatus, 0, 512),
    request(COMMAND.read, 0, 512, { flags: 0x8000 }),
    request(COMMAND.trim, 0, 0),
  ];
  for (const bytes of requests) {
    await connection.write(bytes);
    const head = await connection.reader.read(20);
    assert.equal(head.readUInt16BE(6), 0x8001, 'an error chunk');
    const error = await connection.reader.read(head.readUInt32BE(16));
    assert.equal(error.readUInt32BE(0), 22);
  }
  socket.destroy();
  await server.isWell();
});

test('a client that never reads costs a bounded amount of memory, and nobody else anything', async () => {
  const sizeBytes = 32 * MIB;
  let reads = 0;
  const disk = memoryDisk(Buffer.alloc(sizeBytes), {
    read: async () => {
      reads++;
    },
  });
  const server = await serve(disk);
  const user = await fakeUser(server.socket);
  user.socket.pause();
  const wanted = Array.from({ length: 500 }, () => request(COMMAND.read, 0, sizeBytes));
  await user.connection.write(Buffer.concat(wanted));
  const client = await openDisk(server.uri);
  for (let round = 0; round < 20; round++) await client.read(0, Buffer.alloc(512));
  // The client has one 32 MiB reply that is not taken, and one that waits for it.
  assert.equal(reads, 2 + 20);
  await client.close();
  user.socket.destroy();
  await server.isWell();
});

test('many small requests at once run at most sixteen at a time', async () => {
  let [running, most] = [0, 0];
  const waiting: (() => void)[] = [];
  const disk = memoryDisk(Buffer.alloc(MIB), {
    async flush() {
      most = Math.max(most, ++running);
      await new Promise<void>((resolve) => waiting.push(resolve));
      running--;
    },
  });
  const server = await serve(disk);
  const { connection, socket } = await fakeUser(server.socket);
  await connection.write(...Array.from({ length: 100 }, () => request(COMMAND.flush, 0, 0)));
  for (let replies = 0; replies < 100; replies++) {
    while (waiting.length === 0) await new Promise(setImmediate);
    waiting.shift()!();
    await connection.reader.read(20);
  }
  assert.equal(most, 16);
  socket.destroy();
  await server.isWell();
});

test('a hundred connections: some are served, the others refused, and all is well after', async () => {
  const server = await serve();
  const sockets: Socket[] = Array.from({ length: 100 }, () => connect(server.socket));
  const ends = await Promise.all(
    sockets.map(async (socket) => {
      socket.on('error', () => {});
      const [first] = (await Promise.race([
        once(socket, 'data'),
        once(socket, 'close').then(() => [undefined]),
      ])) as [Buffer | undefined];
      return first?.toString('latin1', 0, 8);
    }),
  );
  assert.equal(ends.filter((greeting) => greeting === 'NBDMAGIC').length, 64);
  const gone = Promise.all(
    sockets.filter((each) => !each.closed).map((each) => once(each, 'close')),
  );
  for (const socket of sockets) socket.destroy();
  await gone;
  await server.isWell();
});

test('closing the server waits for writes that are under way', async () => {
  let finish = (): void => {};
  const writing = new Promise<void>((resolve) => (finish = resolve));
  let [hasBegun, isDone] = [(): void => {}, false];
  const begun = new Promise<void>((resolve) => (hasBegun = resolve));
  const disk = memoryDisk(Buffer.alloc(MIB), {
    async write() {
      hasBegun();
      await writing;
      isDone = true;
    },
  });
  const server = await lab.serve({ exports: [{ name: '', disk, readOnly: false }] });
  const client = await openDisk(server.uri, { writable: true });
  const failing = assert.rejects(client.write(0, Buffer.alloc(512)), fails('nbd-unreachable'));
  await begun;
  const closing = server.close().then(() => assert.ok(isDone, 'the disk may be closed now'));
  await failing;
  finish();
  await closing;
  await client.close();
});

test('a client that leaves while it is served disturbs nobody', async () => {
  const server = await serve();
  const users = await Promise.all(Array.from({ length: 20 }, () => fakeUser(server.socket)));
  for (const { connection, socket } of users) {
    void connection
      .write(...Array.from({ length: 20 }, () => request(COMMAND.read, 0, MIB)))
      .catch(() => {});
    await connection.reader.read(20);
    socket.destroy();
  }
  assert.deepEqual(server.codes(), []);
  await server.isWell();
});
