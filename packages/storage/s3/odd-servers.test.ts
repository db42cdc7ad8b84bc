/** Servers of S3 that behave otherwise than Amazon's: what can be used is used, all else is told. */
import assert from 'node:assert/strict';
import { PassThrough, Readable } from 'node:stream';
import { after, before, beforeEach, describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { CofferError, type ErrorCode, digest, systemRandom } from '@coffer/base';
import { readWhole } from '../http-body.ts';
import type { ObjectStore } from '../object-store.ts';
import { retrying } from '../retrying.ts';
import { openS3Store } from '../s3.ts';
import { objectStoreContract } from '../testing/contract.ts';
import { ANY_SIZE, failsWith, listAll } from '../testing/expectations.ts';
import { type HeldClock, heldClock } from '@coffer/base/testing/held-clock.ts';
import { objectLockContract } from '../testing/lock-contract.ts';
import { manualClock } from '../testing/manual-clock.ts';
import { type OddS3Server, type S3Habits, startOddS3Server } from '../testing/odd-s3-server.ts';

/** Several pages of the servers whose pages are short. */
const LISTED = { listedCount: 250 };

const USABLE: Readonly<Record<string, S3Habits>> = {
  'like MinIO': {},
  'without new checksums': { refusesNewChecksums: true, pageSize: 100 },
  'with an empty token at the end of lists': { tokenAtEnd: 'empty', pageSize: 100 },
  'with the last name as token at the end of lists': { tokenAtEnd: 'last name', pageSize: 100 },
  'with the same token at the end of lists': { tokenAtEnd: 'the same', pageSize: 100 },
  'without tokens': { lists: 'no tokens', pageSize: 100 },
  'that gives the last name of a page again': { lists: 'inclusive', pageSize: 100 },
  'that wants a digest': { wantsDigest: true },
};

for (const [name, habits] of Object.entries(USABLE)) {
  objectStoreContract(
    `s3 server ${name}`,
    async () => {
      const server = await startOddS3Server(habits);
      const store = await openS3Store({ bucket: 'coffer', prefix: 'a b/c', access: server.access });
      // As a session does before all else: a stream comes once, so what a server insists on is known.
      await store.put('first', Buffer.from('first'));
      const close = store.close.bind(store);
      store.close = async () => {
        await close();
        await server.stop();
      };
      return store;
    },
    LISTED,
  );
}

for (const habits of [{ refusesNewChecksums: true }, { wantsDigest: true }] as const) {
  objectLockContract(`s3 server: ${Object.keys(habits).join('')}`, async () => {
    const server = await startOddS3Server(habits);
    const location = { bucket: 'coffer', prefix: '', objectLock: true };
    const store = await openS3Store({ ...location, access: server.access });
    const close = store.close.bind(store);
    store.close = async () => {
      await close();
      await server.stop();
    };
    return store;
  });
}

describe('s3 servers that cannot be used', () => {
  let server: OddS3Server;
  let direct: ObjectStore;
  let store: ObjectStore;
  let clock: HeldClock;
  before(async () => {
    server = await startOddS3Server();
    clock = heldClock();
    const location = { bucket: 'coffer', prefix: '' };
    direct = await openS3Store({ ...location, access: server.access, clock });
    const options = { attemptsMax: 3, delayMs: 1, clock: manualClock(), random: systemRandom };
    store = retrying(direct, options);
    for (const key of ['a', 'b', 'c']) await store.put(key, Buffer.from('abcdef'));
  });
  beforeEach(() => {
    server.habits = {};
  });
  after(async () => {
    await store.close();
    await server.stop();
  });

  /** How many requests a call makes that fails with this code. */
  async function requestsUntil(code: ErrorCode, call: () => Promise<unknown>): Promise<number> {
    const before = server.requestCount;
    await failsWith(code, call());
    return server.requestCount - before;
  }

  const LISTS = [
    'the first page for ever',
    'the same token for ever',
    'backwards',
    'without sizes',
  ] as const;
  for (const lists of LISTS) {
    it(`ends a list of ${lists}`, async () => {
      server.habits = { lists, pageSize: 2 };
      const count = await requestsUntil('store-unsupported', () => listAll(store, ''));
      assert.ok(count <= 3, `${count} requests`);
    });
  }

  it('ends a list of empty pages for ever', async () => {
    server.habits = { lists: 'empty pages for ever' };
    const count = await requestsUntil('store-unsupported', () => listAll(store, ''));
    assert.ok(count > 100 && count < 1100, `${count} requests`);
  });

  const REFUSALS: readonly [code: ErrorCode, requestCount: number, status: number, s3?: string][] =
    [
      ['store-unsupported', 1, 501, 'NotImplemented'],
      ['store-unsupported', 1, 501],
      ['store-unsupported', 1, 405, 'MethodNotAllowed'],
      ['store-unsupported', 1, 413, 'EntityTooLarge'],
      ['store-denied', 1, 403, 'AccessDenied'],
      ['store-denied', 1, 403],
      ['store-denied', 1, 401],
      ['store-unavailable', 3, 503, 'SlowDown'],
      ['store-unavailable', 3, 500],
      ['store-unavailable', 3, 429],
      ['store-unavailable', 3, 400, 'RequestTimeout'],
    ];
  for (const [code, requestCount, ...refusesAll] of REFUSALS) {
    it(`tells ${refusesAll.join(' ')} as ${code}, in ${requestCount} requests`, async () => {
      server.habits = { refusesAll };
      for (const call of [
        () => store.get('a', ANY_SIZE),
        () => store.put('new', Buffer.alloc(1)),
        () => store.delete('a'),
        () => listAll(store, ''),
      ]) {
        assert.equal(await requestsUntil(code, call), requestCount);
      }
    });
  }

  it('asks once more with a digest where a request was wrong, and then no more', async () => {
    server.habits = { refusesAll: [400, 'InvalidRequest'] };
    const put = () => store.put('new', Buffer.alloc(1));
    assert.equal(await requestsUntil('store-unsupported', put), 2);
    assert.equal(await requestsUntil('store-unsupported', put), 1);
  });

  it('tells bodies that end early, and those that are too long', async () => {
    const calls = [
      () => store.get('a', ANY_SIZE),
      () => store.getRange('a', { offset: 1, length: 3 }),
    ];
    for (const call of calls) {
      server.habits = { bodies: 'end early' };
      assert.equal(await requestsUntil('store-unavailable', call), 3);
    }
    server.habits = { bodies: 'longer' };
    assert.equal(await requestsUntil('store-unavailable', calls[1]!), 3);
  });

  it('tells a server that knows of no ranges', async () => {
    server.habits = { bodies: 'without ranges' };
    for (const offset of [0, 2]) {
      const call = () => store.getRange('a', { offset, length: 3 });
      assert.equal(await requestsUntil('store-unsupported', call), 1);
    }
    assert.equal(String(await store.getRange('a', { offset: 0, length: 6 })), 'abcdef');
  });

  it('gives up a body on which too little comes', async () => {
    server.habits = { bodies: 'stop' };
    const failed = failsWith('store-unavailable', direct.get('a', ANY_SIZE));
    // The beginning of an answer has more time than each minute of its body.
    while (clock.sleeps[0] !== 60_000) await setImmediate();
    clock.pass(60_000);
    await failed;
  });

  it('gives up a server that does not begin to answer', async () => {
    server.habits = { isSilent: true };
    for (const call of [
      () => direct.get('a', ANY_SIZE),
      () => direct.put('new', Buffer.alloc(1)),
      () => listAll(direct, ''),
    ]) {
      const failed = failsWith('store-unavailable', call());
      while (clock.sleeps.length === 0) await setImmediate();
      clock.pass(clock.sleeps[0]!);
      await failed;
    }
  });
});

describe('the pace of a stream', () => {
  const LARGE = Buffer.alloc(4 * 1024 * 1024);
  const announced = { sizeBytes: LARGE.length, digest: digest(LARGE) };
  let server: OddS3Server;
  let clock: HeldClock;
  let store: ObjectStore;
  before(async () => {
    server = await startOddS3Server();
    clock = heldClock();
    store = await openS3Store({ bucket: 'coffer', prefix: '', access: server.access, clock });
  });
  after(async () => {
    await store.close();
    await server.stop();
  });

  it('gives up a server that takes all and does not answer', async () => {
    server.habits = { isSilent: true };
    const failed = failsWith(
      'store-unavailable',
      store.putStream('a', Readable.from([LARGE]), announced),
    );
    // Until it has all, time stands still: then two limits pass, since one may have begun before.
    const before = server.bodyCount;
    while (server.bodyCount === before) await setImmediate();
    const limitMs = clock.sleeps[0]!;
    clock.pass(limitMs);
    while (clock.sleeps.length === 0) await setImmediate();
    clock.pass(limitMs);
    await failed;
    assert.equal(clock.sleeps.length, 0);
    server.habits = {};
  });

  it('does not hurry the source', async () => {
    async function* slow(): AsyncGenerator<Uint8Array> {
      for (let offset = 0; offset < LARGE.length; offset += LARGE.length / 4) {
        for (let hour = 0; hour < 3; hour++) {
          while (clock.sleeps.length === 0) await setImmediate();
          clock.pass(60 * 60_000);
        }
        yield LARGE.subarray(offset, offset + LARGE.length / 4);
      }
    }
    await store.putStream('slow', slow(), announced);
    assert.equal((await store.stat('slow'))?.sizeBytes, LARGE.length);
  });
});

describe('the pace of a body', () => {
  const answerOf = (body: PassThrough, length: number, clock: HeldClock) => {
    return { body, length, range: undefined, signal: undefined, clock };
  };

  it('is enough while each minute brings something', async () => {
    const [body, clock] = [new PassThrough(), heldClock()];
    const size = 10 * 64 * 1024;
    const whole = readWhole('a', answerOf(body, size, clock), ANY_SIZE);
    for (let minute = 0; minute < 10; minute++) {
      body.write(Buffer.alloc(64 * 1024));
      while (body.readableLength > 0) await setImmediate();
      await setImmediate();
      clock.pass(60_000);
      await setImmediate();
    }
    body.end();
    assert.equal((await whole).length, size);
    assert.equal(clock.sleeps.length, 0);
  });

  it('is too slow where a minute brings a byte each second', async () => {
    const [body, clock] = [new PassThrough(), heldClock()];
    const whole = readWhole('a', answerOf(body, 1000, clock), ANY_SIZE);
    const failed = assert.rejects(whole, (error) => {
      assert.ok(error instanceof CofferError && error.code === 'store-unavailable');
      assert.equal(error.details.receivedBytes, 60);
      return true;
    });
    for (let second = 0; second < 60; second++) {
      body.write(Buffer.alloc(1));
      await setImmediate();
      clock.pass(1000);
    }
    await failed;
  });
});
