import assert from 'node:assert/strict';
import { it } from 'node:test';
import { openMemoryStore } from './memory.ts';
import { metered } from './metered.ts';
import { objectStoreContract } from './testing/contract.ts';
import { ANY_SIZE, failsWith, listAll } from './testing/expectations.ts';
import { objectLockContract } from './testing/lock-contract.ts';

objectLockContract('metered', async () => metered(openMemoryStore({ objectLock: true })));

objectStoreContract('metered', async () => metered(openMemoryStore()));

it('counts calls, errors and bytes of each method', async () => {
  const store = metered(openMemoryStore());
  await store.put('a', Buffer.alloc(10));
  await failsWith('object-exists', store.put('a', Buffer.alloc(10)));
  await store.get('a', ANY_SIZE);
  await store.getRange('a', { offset: 2, length: 3 });
  await store.getInto('a', 0, new Uint8Array(4));
  await failsWith('object-not-found', store.get('b', ANY_SIZE));
  await store.stat('b');
  await listAll(store, '');
  await failsWith('object-name-invalid', listAll(store, '..'));
  await store.delete('a');
  const counts = store.counts();
  assert.deepEqual(counts.put, { calls: 2, errors: 1, bytesIn: 10, bytesOut: 0 });
  assert.deepEqual(counts.get, { calls: 2, errors: 1, bytesIn: 0, bytesOut: 10 });
  assert.deepEqual(counts.getRange, { calls: 1, errors: 0, bytesIn: 0, bytesOut: 3 });
  assert.deepEqual(counts.getInto, { calls: 1, errors: 0, bytesIn: 0, bytesOut: 4 });
  assert.deepEqual(counts.list, { calls: 2, errors: 1, bytesIn: 0, bytesOut: 0 });
  assert.equal(counts.stat.calls + counts.delete.calls, 2);
  assert.equal(counts.removeLeftovers.calls, 0);
});
