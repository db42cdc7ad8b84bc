/** Our client, and servers that stop, go away, and come back. */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { seededRandom, systemClock } from '@coffer/base';
import { type HeldClock, heldClock } from '@coffer/base/testing/held-clock.ts';
import type { Connection } from './connection.ts';
import { REPLY } from './protocol.ts';
import {
  answerOption,
  dataChunk,
  diskOf,
  fakeServer,
  greeted,
  never,
  nextOption,
  nextRequest,
  OFFER,
  served,
  welcome,
} from './testing/fake-peers.ts';
import {
  fails,
  memoryDisk,
  MIB,
  nbdLab,
  openDisk,
  readAll,
  TIMEOUTS,
  uriOf,
} from './testing/lab.ts';
import { encodeError } from './transmission-codec.ts';

const lab = nbdLab();
/** Passes by a clock of the test. */
const TIMEOUT_MS = TIMEOUTS.requestTimeoutMs;
/** Does not pass. */
const RECONNECT_TIMEOUT_MS = 600_000;

/** What the client does when a server has fallen silent, and stays so for as long as it waits. */
async function afterSilence<T>(
  clock: HeldClock,
  silent: Promise<void>,
  doing: Promise<T>,
): Promise<T> {
  await silent;
  await passTimeout(clock);
  return await doing;
}

/** In parts, since the client looks again and again. */
async function passTimeout(clock: HeldClock): Promise<void> {
  for (let part = 0; part < 5; part++) {
    // What has reached the client by now, it takes first.
    await nextTurn();
    await nextTurn();
    clock.pass(TIMEOUT_MS / 4);
  }
}

/** A script that says when it has nothing more to say. */
function silenceAfter(script: (connection: Connection) => Promise<void>) {
  const silent = Promise.withResolvers<void>();
  const whole = async (connection: Connection): Promise<void> => {
    await script(connection);
    silent.resolve();
    await never;
  };
  return { silent: silent.promise, whole };
}

test('a server that is silent is left, at each step of the way', async () => {
  const keys = lab.newPath();
  writeFileSync(keys, `a:${'ab'.repeat(16)}\n`);
  const tls = { form: 'psk', file: keys, user: 'a' } as const;
  const steps = [
    { script: async () => {} },
    { script: async (connection: Connection) => void (await greeted(connection)) },
    {
      tls,
      script: async (connection: Connection) => {
        await greeted(connection);
        const { option } = await nextOption(connection);
        await answerOption(connection, option, REPLY.ack);
      },
    },
  ];
  for (const { script, ...more } of steps) {
    const { silent, whole } = silenceAfter(script);
    const clock = heldClock();
    const opening = openDisk(await served(lab, whole), { ...more, clock });
    const leaving = assert.rejects(opening, fails('nbd-timeout', { phase: 'handshake' }));
    await afterSilence(clock, silent, leaving);
  }
  const { silent, whole } = silenceAfter(
    async (connection) => void (await nextRequest(connection)),
  );
  const clock = heldClock();
  const disk = await diskOf(lab, whole, { clock });
  const reading = disk.read(0, Buffer.alloc(512));
  const details = { silentForSeconds: TIMEOUT_MS / 1000 };
  await afterSilence(clock, silent, assert.rejects(reading, fails('nbd-timeout', details)));
  await disk.close();
});

test('requests that follow give a silent server no more time', async () => {
  const clock = heldClock();
  const disk = await diskOf(lab, () => never, { clock });
  const failing = assert.rejects(disk.read(0, Buffer.alloc(512)), fails('nbd-timeout'));
  for (let part = 0; part < 5; part++) {
    clock.pass(TIMEOUT_MS / 4);
    disk.read(512, Buffer.alloc(512)).catch(() => {});
    await nextTurn();
  }
  await failing;
  await disk.close();
});

test('a server that owes nothing may be silent, and has all its time when it owes again', async () => {
  const clock = heldClock();
  const disk = await diskOf(
    lab,
    async (connection) => {
      for (;;) {
        const { cookie, offset, length } = await nextRequest(connection);
        await connection.write(dataChunk(cookie, Number(offset), length));
      }
    },
    { clock },
  );
  for (let round = 0; round < 3; round++) {
    await passTimeout(clock);
    await disk.read(0, Buffer.alloc(512));
  }
  await disk.close();
});

test('a connection that is cut in the middle of a reply fails what waits for it', async () => {
  const disk = await diskOf(lab, async (connection) => {
    const { cookie } = await nextRequest(connection);
    await connection.write(dataChunk(cookie, 0, 4096).subarray(0, 1000));
    await connection.end(systemClock);
  });
  const [first, second] = await Promise.allSettled([
    disk.read(0, Buffer.alloc(4096)),
    disk.read(4096, Buffer.alloc(4096)),
  ]);
  assert.ok(first.status === 'rejected' && fails('nbd-unreachable')(first.reason));
  assert.ok(second.status === 'rejected' && fails('nbd-unreachable')(second.reason));
  await assert.rejects(disk.read(0, Buffer.alloc(512)), fails('nbd-unreachable'));
  await disk.close();
});

test('a read that fails has let go of its buffer', async () => {
  const disk = await diskOf(lab, async (connection) => {
    const first = await nextRequest(connection);
    const second = await nextRequest(connection);
    await connection.write(encodeError(first.cookie, 5, 'no'));
    // The other piece comes later; the caller must not have its buffer back by then.
    setTimeout(
      () => void connection.write(dataChunk(second.cookie, Number(second.offset), second.length)),
      50,
    );
  });
  const target = Buffer.alloc(1024 * 1024);
  await assert.rejects(disk.read(0, target), fails('nbd-failed'));
  assert.equal(target.at(-1), 1, 'all that was under way has ended');
  await disk.close();
});

test('closing does not wait for a server that never closes, nor for its answers', async () => {
  const clock = heldClock();
  const path = lab.newPath();
  await fakeServer(path, async ({ connection, socket }) => {
    await welcome(connection);
    socket.removeAllListeners('end');
    await never;
  });
  const disk = await openDisk(uriOf(path), { clock });
  const failing = assert.rejects(disk.read(0, Buffer.alloc(512)), fails('nbd-unreachable'));
  const closing = disk.close();
  await nextTurn();
  clock.pass(TIMEOUT_MS);
  await closing;
  await failing;
});

test('closing takes no harm from what the server still sends', async () => {
  const disk = await diskOf(lab, async (connection) => {
    await nextRequest(connection);
    for (;;) await connection.write(Buffer.alloc(100_000, 3));
  });
  await disk.close();
});

test('a read-only copy goes on when the server was killed and is there again', async () => {
  const [image, socket] = [lab.newPath(), lab.newPath()];
  const contents = seededRandom(3).bytes(8 * MIB);
  writeFileSync(image, contents);
  const start = (): ReturnType<typeof lab.start> =>
    lab.start('nbdkit', (pidFile) => [
      '-f',
      '-r',
      '-P',
      pidFile,
      '-U',
      socket,
      '--filter=delay',
      'file',
      image,
      'rdelay=40ms',
    ]);
  const server = await start();
  const disk = await openDisk(uriOf(socket), { reconnectTimeoutMs: RECONNECT_TIMEOUT_MS });
  const reading = readAll(disk);
  // The copy is under way, and most of it is still to come.
  await disk.read(0, Buffer.alloc(512));
  await server.kill();
  rmSync(socket);
  await start();
  assert.ok((await reading).equals(contents));
  await disk.close();
});

/** The server ends each connection at its first request; how many connections there were. */
async function cutting(path: string, offers = [OFFER]): Promise<{ count: number }> {
  const seen = { count: 0 };
  await fakeServer(path, async ({ connection, socket }) => {
    await welcome(connection, offers[Math.min(seen.count++, offers.length - 1)]);
    await nextRequest(connection);
    socket.destroy();
  });
  return seen;
}

test('a write is not repeated when the server went away, nor is a read after it', async () => {
  const path = lab.newPath();
  const seen = await cutting(path);
  const disk = await openDisk(uriOf(path), {
    writable: true,
    reconnectTimeoutMs: RECONNECT_TIMEOUT_MS,
  });
  await assert.rejects(disk.write(0, Buffer.alloc(512)), fails('nbd-unreachable'));
  await assert.rejects(disk.read(0, Buffer.alloc(512)), fails('nbd-unreachable'));
  await assert.rejects(disk.flush(), fails('nbd-unreachable'));
  assert.equal(seen.count, 1);
  await disk.close();
});

test('a server that goes away at the same request each time is not asked for ever', async () => {
  const path = lab.newPath();
  const seen = await cutting(path);
  const disk = await openDisk(uriOf(path), { reconnectTimeoutMs: RECONNECT_TIMEOUT_MS });
  await assert.rejects(disk.read(0, Buffer.alloc(512)), fails('nbd-unreachable'));
  assert.equal(seen.count, 12);
  await disk.close();
});

test('a server that comes back with another disk is not read on', async () => {
  const path = lab.newPath();
  const other = { ...OFFER.exports.get('')!, sizeBytes: 512 };
  await cutting(path, [OFFER, { ...OFFER, exports: new Map([['', other]]) }]);
  const disk = await openDisk(uriOf(path), { reconnectTimeoutMs: RECONNECT_TIMEOUT_MS });
  await assert.rejects(disk.read(0, Buffer.alloc(512)), fails('source-changed'));
  await disk.close();
});

test('a server that does not come back is given up', async () => {
  const server = await lab.serve({
    exports: [{ name: '', disk: memoryDisk(Buffer.alloc(MIB)), readOnly: true }],
  });
  const disk = await openDisk(server.uri, { reconnectTimeoutMs: 300 });
  await server.close();
  await assert.rejects(disk.read(0, Buffer.alloc(512)), fails('nbd-unreachable'));
  await disk.close();
});

test('closing ends the search for a server that went away', async () => {
  const server = await lab.serve({
    exports: [{ name: '', disk: memoryDisk(Buffer.alloc(MIB)), readOnly: true }],
  });
  const disk = await openDisk(server.uri, { reconnectTimeoutMs: RECONNECT_TIMEOUT_MS });
  await server.close();
  const reading = disk.read(0, Buffer.alloc(512));
  const failing = assert.rejects(reading, fails('nbd-unreachable'));
  await disk.close();
  await failing;
});
