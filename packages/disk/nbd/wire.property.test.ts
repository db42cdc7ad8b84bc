/** Both sides of the wire meet bytes that are almost right; by seed, a slice of what could be run. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CofferError, type Random, seededRandom, systemClock } from '@coffer/base';
import {
  encodeClientFlags,
  encodeContextQueries,
  encodeGo,
  encodeOption,
} from './handshake-codec.ts';
import { COMMAND, OPTION } from './protocol.ts';
import {
  closed,
  fakeClient,
  fakeServer,
  nextRequest,
  request,
  welcome,
} from './testing/fake-peers.ts';
import { memoryDisk, MIB, nbdLab, openDisk, readAll, uriOf } from './testing/lab.ts';
import {
  encodeBlockStatus,
  encodeDataHead,
  encodeError,
  encodeSimpleReply,
} from './transmission-codec.ts';

const lab = nbdLab();
const ROUNDS = 150;

function pick<T>(random: Random, values: readonly T[]): T {
  return values[Math.floor(random.fraction() * values.length)]!;
}

/** Changes a few bytes, and cuts sometimes. */
function damage(random: Random, bytes: Buffer): Buffer {
  const damaged = Buffer.from(bytes);
  for (let count = Math.floor(random.fraction() * 4); count > 0; count--) {
    damaged[Math.floor(random.fraction() * damaged.length)] = pick(random, [0, 1, 127, 128, 255]);
  }
  if (random.fraction() > 0.2) return damaged;
  return damaged.subarray(0, Math.floor(random.fraction() * damaged.length));
}

function clientBytes(random: Random): Buffer {
  const none = Buffer.alloc(0);
  const options = [
    encodeOption({ option: OPTION.structuredReply, data: none }),
    encodeOption({ option: OPTION.list, data: none }),
    encodeOption({
      option: OPTION.setMetaContext,
      data: encodeContextQueries('', ['base:allocation']),
    }),
    encodeOption({ option: OPTION.info, data: encodeGo('', [3]) }),
  ];
  const requests = Array.from({ length: 6 }, (_, index) => {
    const command = Math.floor(random.fraction() * 9);
    const length = pick(random, [0, 512, 4096, MIB + 1]);
    const head = request(command, pick(random, [0, 4096, MIB - 512]), length, {
      flags: pick(random, [0, 0, 1, 4, 8, 64]),
      cookie: BigInt(index),
    });
    return command === COMMAND.write ? Buffer.concat([head, Buffer.alloc(length, 5)]) : head;
  });
  const go = encodeOption({ option: OPTION.go, data: encodeGo('', []) });
  return Buffer.concat([
    encodeClientFlags(3),
    ...options.filter(() => random.fraction() < 0.7),
    go,
    ...requests,
  ]);
}

test('our server outlives clients that send what is almost right', async () => {
  const errors: CofferError[] = [];
  const server = await lab.serve({
    exports: [{ name: '', disk: memoryDisk(Buffer.alloc(MIB)), readOnly: false }],
    onError: (error) => void errors.push(error),
  });
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const random = seededRandom(seed);
    const peer = await fakeClient(server.socket);
    await peer.connection.write(damage(random, clientBytes(random))).catch(() => {});
    peer.connection.reader.discard();
    peer.socket.resume();
    peer.socket.end();
    await closed(peer);
    const unexpected = errors.filter(({ code }) => code !== 'nbd-protocol');
    assert.deepEqual(unexpected, [], `seed ${seed}`);
  }
  const client = await openDisk(server.uri);
  assert.equal((await readAll(client)).length, MIB);
  await client.close();
});

function serverBytes(random: Random, cookie: bigint, offset: number, length: number): Buffer {
  const data = (at: number, size: number): Buffer =>
    Buffer.concat([encodeDataHead(cookie, BigInt(at), size), Buffer.alloc(size, 7)]);
  return pick(random, [
    data(offset, length),
    data(offset, Math.max(1, length - 1)),
    encodeError(cookie, 5, 'words'),
    encodeSimpleReply(cookie, 22),
    encodeBlockStatus(cookie, 1, [{ length, flags: 3 }]),
  ]);
}

test('our client says what is wrong with servers that send what is almost right', async () => {
  const codes = new Set<string>();
  const path = lab.newPath();
  let seed = 0;
  await fakeServer(path, async ({ connection, socket }) => {
    const random = seededRandom(++seed);
    await welcome(connection);
    for (let count = 0; count < 3; count++) {
      const { cookie, offset, length } = await nextRequest(connection);
      const bytes = serverBytes(random, cookie, Number(offset), length);
      await connection.write(damage(random, bytes));
      if (random.fraction() < 0.3) socket.destroy();
    }
    await connection.end(systemClock);
  });
  for (let round = 0; round < ROUNDS; round++) {
    const disk = await openDisk(uriOf(path), { requestTimeoutMs: 30 });
    const outcomes = await Promise.allSettled([
      disk.read(512, Buffer.alloc(1024)),
      Array.fromAsync(disk.extents({ offset: 0, length: 4096 })),
      disk.read(8192, Buffer.alloc(100)),
    ]);
    for (const each of outcomes) {
      if (each.status === 'fulfilled') continue;
      assert.ok(each.reason instanceof CofferError, `seed ${seed}: ${String(each.reason)}`);
      codes.add(each.reason.code);
    }
    await disk.close();
  }
  const expected = ['nbd-failed', 'nbd-protocol', 'nbd-timeout', 'nbd-unreachable'];
  assert.deepEqual(
    [...codes].filter((code) => !expected.includes(code)),
    [],
  );
  assert.ok(codes.has('nbd-protocol'));
});
