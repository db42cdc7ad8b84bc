// What a server that is broken, slow or malicious can do to a client: nothing but fail it, in time.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { isCofferError } from '@coffer/base';
import { type HeldClock, heldClock } from '@coffer/base/testing/held-clock.ts';
import { type LibvirtConnection, type LibvirtOptions, openLibvirt } from '../connection.ts';
import { libvirtCodeOf } from '../errors.ts';
import { type LibvirtEvents } from './events.ts';
import { KEEPALIVE_PROGRAM, PING_HEADER } from './keepalive.ts';
import { type Message, MESSAGE_STATUS, MESSAGE_TYPE } from './message-codec.ts';
import { REMOTE } from './procedures.ts';
import { type Behaviour, FakeServer, NOTHING, text } from './testing/fake-server.ts';
import { XdrWriter } from './xdr-codec.ts';

const HOSTNAME = 59;
const POLKIT = 70;
const SCREENSHOT = 211;
const REGISTER = 316;
const CLOSE = 2;
const DOMAIN = { name: 'vm', uuid: '00112233-4455-6677-8899-aabbccddeeff', id: 1 };
const MIB = 1024 * 1024;
/** Passes by a clock of the test. */
const TIMEOUT_MS = 60_000;

async function withServer(
  behave: Behaviour,
  use: (connection: LibvirtConnection, server: FakeServer) => Promise<void>,
  options: LibvirtOptions & { readonly clock?: HeldClock } = {},
): Promise<void> {
  const polite: Behaviour = (message, peer) => {
    if (message.program === REMOTE.id && message.procedure === CLOSE) peer.reply(message, NOTHING);
    else behave(message, peer);
  };
  const server = await FakeServer.start(polite);
  try {
    const connection = await openLibvirt(server.uri, options);
    await use(connection, server);
    const closing = connection.close();
    // A server that has not answered other calls does not answer this one.
    await nextTurn();
    options.clock?.pass(TIMEOUT_MS);
    await closing;
  } finally {
    await server.close();
  }
}

async function failsWith(call: Promise<unknown>, code: string, reason?: RegExp): Promise<void> {
  await assert.rejects(call, (error: unknown) => {
    assert.ok(isCofferError(error), String(error));
    assert.equal(error.code, code, error.message);
    if (reason) assert.match(String(error.details['reason']), reason);
    return true;
  });
}

function event(procedure: number, payload: Buffer): Message {
  const { id: program, version } = REMOTE;
  return { program, version, procedure, type: MESSAGE_TYPE.event, serial: 0, status: 0, payload };
}

function ioErrorPayload(): Buffer {
  const writer = new XdrWriter().i32(7).text(DOMAIN.name);
  writer.raw(Buffer.from(DOMAIN.uuid.replaceAll('-', ''), 'hex')).i32(DOMAIN.id);
  return writer.text('/disk').text('virtio-disk0').i32(1).text('enospc').finish();
}

test('answers in any order reach who asked', async () => {
  const asked: Message[] = [];
  await withServer(
    (message, peer) => {
      asked.push(message);
      if (asked.length < 3) return;
      for (const each of asked.toReversed()) peer.reply(each, text(`host ${each.serial}`));
    },
    async (connection) => {
      const hosts = await Promise.all([1, 2, 3].map(() => connection.hostname()));
      assert.deepEqual(
        hosts,
        asked.map(({ serial }) => `host ${serial}`),
      );
    },
  );
});

test('not more than four calls are under way, and the others follow', async () => {
  let underWay = 0;
  let underWayMax = 0;
  await withServer(
    (message, peer) => {
      underWayMax = Math.max(underWayMax, ++underWay);
      setTimeout(() => {
        underWay--;
        peer.reply(message, text('host'));
      }, 5);
    },
    async (connection) => {
      await Promise.all(Array.from({ length: 20 }, () => connection.hostname()));
      assert.equal(underWayMax, 4);
    },
  );
});

test('a call without an answer fails in time, and its late answer harms nobody', async () => {
  const clock = heldClock();
  const asked = Promise.withResolvers<void>();
  let late: (() => void) | undefined;
  await withServer(
    (message, peer) => {
      if (late) peer.reply(message, text('second'));
      else late = () => peer.reply(message, text('first'));
      asked.resolve();
    },
    async (connection) => {
      const failing = failsWith(connection.hostname(), 'libvirt-unreachable', /in time/);
      await asked.promise;
      clock.pass(TIMEOUT_MS);
      await failing;
      late?.();
      assert.equal(await connection.hostname(), 'second');
    },
    { timeoutMs: TIMEOUT_MS, clock },
  );
});

test('a call that waits behind unanswered ones fails in time too', async () => {
  const clock = heldClock();
  const asked = Promise.withResolvers<void>();
  let askedCount = 0;
  await withServer(
    () => {
      if (++askedCount === 4) asked.resolve();
    },
    async (connection, server) => {
      const calls = Array.from({ length: 6 }, () => connection.hostname());
      const settled = Promise.allSettled(calls);
      await asked.promise;
      clock.pass(TIMEOUT_MS);
      assert.ok((await settled).every(({ status }) => status === 'rejected'));
      assert.equal(server.called.filter((procedure) => procedure === HOSTNAME).length, 4);
    },
    { timeoutMs: TIMEOUT_MS, clock },
  );
});

test('when the connection is lost, all calls fail, and so do later ones', async () => {
  await withServer(
    (_message, peer) => peer.socket.destroy(),
    async (connection) => {
      const calls = Array.from({ length: 6 }, () => connection.hostname());
      for (const call of calls) await failsWith(call, 'libvirt-unreachable');
      await failsWith(connection.hostname(), 'libvirt-unreachable');
      assert.ok(isCofferError(connection.ended.reason, 'libvirt-unreachable'));
    },
  );
});

test('garbage ends the connection with an error that says what was read', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 40, maxLength: 200 }), async (garbage) => {
      // A length that is believable, so that what follows is looked at.
      const bytes = Buffer.concat([Buffer.from([0, 0, 0, 40]), garbage]);
      await withServer(
        (_message, peer) => void peer.socket.end(bytes),
        (connection) => failsWith(connection.hostname(), 'libvirt-failed'),
      );
    }),
    { numRuns: 30 },
  );
});

test('impossible lengths are refused before anything is kept', async () => {
  for (const length of [0, 27, 32 * MIB + 1, 0xffff_ffff]) {
    const bytes = new XdrWriter().u32(length).finish();
    await withServer(
      (_message, peer) => void peer.socket.write(bytes),
      (connection) => failsWith(connection.hostname(), 'libvirt-failed', /length/),
    );
  }
});

test('a message that is cut off is a lost connection', async () => {
  await withServer(
    (_message, peer) => void peer.socket.end(new XdrWriter().u32(1000).u32(7).finish()),
    (connection) => failsWith(connection.hostname(), 'libvirt-unreachable'),
  );
});

test('an answer that does not fit its procedure fails the call and no other', async () => {
  const wrong = [NOTHING, new XdrWriter().u32(0xffff_ffff).finish()];
  wrong.push(new XdrWriter().text('host').u32(1).finish());
  await withServer(
    (message, peer) => peer.reply(message, wrong.shift() ?? text('host')),
    async (connection) => {
      await failsWith(connection.hostname(), 'libvirt-failed', /too early/);
      await failsWith(connection.hostname(), 'libvirt-failed', /text of/);
      await failsWith(connection.hostname(), 'libvirt-failed', /too many/);
      assert.equal(await connection.hostname(), 'host');
    },
  );
});

test('answers that nobody asked for end the connection', async () => {
  const others: ((message: Message) => Message)[] = [
    (message) => ({ ...message, serial: message.serial + 1 }),
    (message) => ({ ...message, procedure: 7 }),
    (message) => ({ ...message, program: 1 }),
    (message) => ({ ...message, type: MESSAGE_TYPE.call }),
    (message) => ({ ...message, type: MESSAGE_TYPE.stream }),
    (message) => ({ ...message, type: 77 }),
    (message) => ({ ...message, status: 9 }),
  ];
  for (const changed of others) {
    await withServer(
      (message, peer) => peer.send(changed({ ...message, type: MESSAGE_TYPE.reply })),
      async (connection) => {
        await failsWith(connection.hostname(), 'libvirt-failed');
        assert.ok(connection.ended.aborted);
      },
    );
  }
});

test('an error that is cut off is still an error', async () => {
  await withServer(
    (message, peer) => peer.reply(message, Buffer.alloc(4), MESSAGE_STATUS.error),
    (connection) => failsWith(connection.hostname(), 'libvirt-failed', /too early/),
  );
});

test('a stream is put together, and finished when it is at its end', async () => {
  let isFinished = false;
  await withServer(
    (message, peer) => {
      if (message.type === MESSAGE_TYPE.stream) {
        isFinished = message.status === MESSAGE_STATUS.ok;
        peer.stream(message, NOTHING, MESSAGE_STATUS.ok);
        return;
      }
      peer.reply(message, new XdrWriter().u32(1).text('image/png').finish());
      for (const piece of ['one ', 'two', '']) peer.stream(message, Buffer.from(piece));
    },
    async (connection) => {
      const { mime, bytes } = await connection.screenshot(DOMAIN);
      assert.equal(`${mime} ${bytes.toString()}`, 'image/png one two');
      assert.ok(isFinished);
    },
  );
});

test('a stream may come before the answer that it belongs to', async () => {
  await withServer(
    (message, peer) => {
      if (message.type === MESSAGE_TYPE.call) {
        for (const piece of ['all', '']) peer.stream(message, Buffer.from(piece));
        return;
      }
      peer.stream(message, NOTHING, MESSAGE_STATUS.ok);
      peer.reply(message, new XdrWriter().u32(0).finish());
    },
    async (connection) => {
      const { bytes } = await connection.screenshot(DOMAIN);
      assert.equal(bytes.toString(), 'all');
    },
  );
});

test('a stream that breaks is an error, and the connection goes on', async () => {
  await withServer(
    (message, peer) => {
      if (message.procedure === HOSTNAME) {
        peer.reply(message, text('host'));
        return;
      }
      const broken = new XdrWriter().i32(38).i32(10).u32(1).text('broken').finish();
      peer.stream(message, broken, MESSAGE_STATUS.error);
      peer.reply(message, new XdrWriter().u32(0).finish());
    },
    async (connection) => {
      await assert.rejects(connection.screenshot(DOMAIN), (error: unknown) => {
        assert.equal(libvirtCodeOf(error), 38);
        return true;
      });
      assert.equal(await connection.hostname(), 'host');
    },
  );
});

test('a stream that never ends is given up, and the connection goes on', async () => {
  const piece = Buffer.alloc(8 * MIB);
  let isAborted = false;
  await withServer(
    (message, peer) => {
      if (message.procedure === HOSTNAME) peer.reply(message, text('host'));
      if (message.procedure !== SCREENSHOT) return;
      if (message.type === MESSAGE_TYPE.stream) {
        isAborted = message.status === MESSAGE_STATUS.error;
        peer.stream(message, NOTHING, MESSAGE_STATUS.ok);
        return;
      }
      peer.reply(message, new XdrWriter().u32(0).finish());
      for (let count = 0; count < 9; count++) peer.stream(message, piece);
    },
    async (connection) => {
      await failsWith(connection.screenshot(DOMAIN), 'libvirt-failed', /too long/);
      assert.equal(await connection.hostname(), 'host');
      assert.ok(isAborted);
    },
  );
});

test('events reach who wants them, decoded, until that is stopped', async () => {
  const seen: LibvirtEvents['ioError'][] = [];
  await withServer(
    (message, peer) => {
      peer.send(event(324, ioErrorPayload()));
      peer.reply(message, message.procedure === REGISTER ? Buffer.alloc(4) : text('host'));
    },
    async (connection, server) => {
      const stops = [1, 2].map(() => connection.on('ioError', (each) => seen.push(each)));
      const [stop] = await Promise.all(stops);
      assert.equal(server.called.filter((procedure) => procedure === REGISTER).length, 1);
      seen.length = 0;
      stop?.();
      await connection.hostname();
      assert.deepEqual(seen, [
        {
          domain: DOMAIN,
          path: '/disk',
          alias: 'virtio-disk0',
          action: 'pause',
          reason: 'enospc',
        },
      ]);
    },
  );
});

test('an event that cannot be decoded ends the connection', async () => {
  await withServer(
    (_message, peer) => peer.send(event(324, Buffer.alloc(6))),
    (connection) => failsWith(connection.hostname(), 'libvirt-failed', /too early/),
  );
});

test('events of kinds that are not known are left alone', async () => {
  await withServer(
    (message, peer) => {
      peer.send(event(438, Buffer.alloc(6)));
      peer.reply(message, text('host'));
    },
    async (connection) => assert.equal(await connection.hostname(), 'host'),
  );
});

test('a server that asks whether we live is answered', async () => {
  await withServer(
    (message, peer) => {
      if (message.procedure === HOSTNAME) peer.send({ ...PING_HEADER, payload: NOTHING });
      if (message.program === KEEPALIVE_PROGRAM.id) peer.socket.destroy();
    },
    (connection) => failsWith(connection.hostname(), 'libvirt-unreachable', /closed/),
  );
});

test('a server that says nothing any more is given up', async () => {
  const clock = heldClock();
  const keepaliveIntervalMs = 1000;
  await withServer(
    () => {},
    async (connection) => {
      for (let asked = 0; asked < 6; asked++) {
        clock.pass(keepaliveIntervalMs);
        await nextTurn();
      }
      assert.ok(!connection.ended.aborted);
      clock.pass(keepaliveIntervalMs);
      await nextTurn();
      assert.ok(connection.ended.aborted);
      await failsWith(connection.hostname(), 'libvirt-unreachable', /nothing any more/);
    },
    { keepaliveIntervalMs, clock },
  );
});

test('polkit is asked where it is wanted, and a password is refused', async () => {
  const behave: Behaviour = (message, peer) => peer.reply(message, Buffer.alloc(4));
  const polkit = await FakeServer.start(behave, [2]);
  const sasl = await FakeServer.start(behave, [1]);
  try {
    const connection = await openLibvirt(polkit.uri);
    assert.ok(polkit.called.includes(POLKIT));
    await connection.close();
    await failsWith(openLibvirt(sasl.uri), 'libvirt-denied');
  } finally {
    await polkit.close();
    await sasl.close();
  }
});
