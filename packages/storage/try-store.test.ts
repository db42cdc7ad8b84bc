import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CofferError } from '@coffer/base';
import { openMemoryStore } from './memory.ts';
import type { ObjectStore } from './object-store.ts';
import { openS3Store } from './s3.ts';
import { appendOnly } from './testing/append-only.ts';
import { listAll } from './testing/expectations.ts';
import { type S3Habits, startOddS3Server } from './testing/odd-s3-server.ts';
import { overridden } from './testing/overridden.ts';
import { tryStore } from './try-store.ts';

test('a store that does all is left as it was', async () => {
  const store = openMemoryStore();
  await tryStore(store, 'probes/a');
  assert.deepEqual(await listAll(store, ''), []);
});

test('a store that gives nothing up keeps what it was tried with', async () => {
  const store = appendOnly(openMemoryStore());
  await tryStore(store, 'probes/a');
  assert.equal((await listAll(store, 'probes/a')).length, 4);
});

const LACKS: readonly [what: string, habits: S3Habits, lack: RegExp][] = [
  ['ignores conditions', { ignoresConditions: true }, /replaces objects.*several win/],
  ['knows of no ranges', { bodies: 'without ranges' }, /another part of the object/],
  ['tells no sizes', { lists: 'without sizes' }, /the size or the time/],
];
for (const [what, habits, lack] of LACKS) {
  test(`a server that ${what} is found out, and left as it was`, async () => {
    const server = await startOddS3Server(habits);
    const store = await openS3Store({ bucket: 'coffer', prefix: '', access: server.access });
    await lacks(store, lack);
    server.habits = {};
    assert.deepEqual(await listAll(store, ''), []);
    await store.close();
    await server.stop();
  });
}

test('all that is missing is told at once', async () => {
  const store = overridden(openMemoryStore(), {
    list: async function* () {},
    delete: async () => {},
  });
  await lacks(store, /^it does not list at once what was put; it shows what was deleted$/);
});

async function lacks(store: ObjectStore, lack: RegExp): Promise<void> {
  await assert.rejects(tryStore(store, 'probes/a'), (error) => {
    assert.ok(error instanceof CofferError && error.code === 'store-unsupported');
    assert.match(String(error.details.reason), lack);
    return true;
  });
}
