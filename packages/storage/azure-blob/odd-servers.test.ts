/** Azure Blob servers, and what stands before them, that behave as they should not. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { ErrorCode } from '@coffer/base';
import { openAzureBlobStore } from '../azure-blob.ts';
import type { ObjectStore } from '../object-store.ts';
import { ANY_SIZE, failsWith, listAll } from '../testing/expectations.ts';
import { type HeldClock, heldClock } from '@coffer/base/testing/held-clock.ts';
import {
  BLOB_CONTENT,
  type OddAzureServer,
  startOddAzureServer,
} from '../testing/odd-azure-server.ts';

describe('azure servers that cannot be used', () => {
  let server: OddAzureServer;
  let store: ObjectStore;
  let clock: HeldClock;
  before(async () => {
    server = await startOddAzureServer();
    clock = heldClock();
    const location = { account: 'coffer', container: 'coffer', prefix: '' };
    store = await openAzureBlobStore({ ...location, access: server.access, clock });
  });
  beforeEach(() => {
    server.habits = {};
  });
  after(async () => {
    await store.close();
    await server.stop();
  });

  it('is one that can be used, without those habits', async () => {
    assert.deepEqual(
      (await listAll(store, '')).map(({ name }) => name),
      ['a', 'b', 'c'],
    );
    assert.deepEqual(await store.get('a', ANY_SIZE), BLOB_CONTENT);
    assert.equal(String(await store.getRange('a', { offset: 2, length: 3 })), 'cde');
  });

  const LISTS = ['the first page for ever', 'empty pages for ever', 'without sizes'] as const;
  for (const lists of LISTS) {
    it(`ends a list of ${lists}`, async () => {
      server.habits = { lists };
      const before = server.requestCount;
      await failsWith('store-unsupported', listAll(store, ''));
      assert.ok(server.requestCount - before < 1100);
    });
  }

  const REFUSALS: readonly [code: ErrorCode, status: number, azure?: string][] = [
    ['store-unsupported', 501],
    ['store-unsupported', 405, 'UnsupportedHttpVerb'],
    ['store-unsupported', 413, 'RequestBodyTooLarge'],
    ['store-denied', 403, 'AuthorizationFailure'],
    ['store-denied', 403],
    ['store-unavailable', 503, 'ServerBusy'],
    ['store-unavailable', 500],
  ];
  for (const [code, ...refusesAll] of REFUSALS) {
    it(`tells ${refusesAll.join(' ')} as ${code}`, async () => {
      server.habits = { refusesAll };
      await failsWith(code, store.get('a', ANY_SIZE));
      await failsWith(code, store.put('new', Buffer.alloc(1)));
      await failsWith(code, store.delete('a'));
      await failsWith(code, listAll(store, ''));
    });
  }

  it('tells bodies that end early', async () => {
    server.habits = { bodies: 'end early' };
    await failsWith('store-unavailable', store.get('a', ANY_SIZE));
    await failsWith('store-unavailable', store.getRange('a', { offset: 1, length: 3 }));
  });

  it('tells a server that knows of no ranges', async () => {
    server.habits = { bodies: 'without ranges' };
    await failsWith('store-unsupported', store.getRange('a', { offset: 2, length: 3 }));
  });

  it('gives up a body on which too little comes', async () => {
    server.habits = { bodies: 'stop' };
    const failed = failsWith('store-unavailable', store.get('a', ANY_SIZE));
    while (clock.sleeps[0] !== 60_000) await setImmediate();
    clock.pass(60_000);
    await failed;
  });
});
