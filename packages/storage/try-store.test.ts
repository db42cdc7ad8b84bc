import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openMemoryStore } from './memory.ts';
import { openS3Store } from './s3.ts';
import { failsWith, listAll } from './testing/expectations.ts';
import { startOddS3Server } from './testing/odd-s3-server.ts';
import { tryStore } from './try-store.ts';

test('a store that keeps objects is left as it was', async () => {
  const store = openMemoryStore();
  await tryStore(store, 'probes/a');
  assert.deepEqual(await listAll(store, ''), []);
});

test('a server that ignores conditions is found out', async () => {
  const server = await startOddS3Server({ ignoresConditions: true });
  const store = await openS3Store({ bucket: 'coffer', prefix: '', client: server.client });
  await failsWith('store-unsupported', tryStore(store, 'probes/a'));
  assert.deepEqual(await listAll(store, ''), []);
  await store.close();
  await server.stop();
});
