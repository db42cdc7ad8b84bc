/** Immutability of blobs, against a server of ours: Azurite has none. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { openAzureBlobStore } from '../azure-blob.ts';
import { createOnly } from '../create-only.ts';
import type { ObjectStore } from '../object-store.ts';
import { failsWith } from '../testing/expectations.ts';
import { objectLockContract } from '../testing/lock-contract.ts';
import {
  type LockingAzureServer,
  startLockingAzureServer,
} from '../testing/locking-azure-server.ts';

const DAY_MS = 86_400_000;
const CONTAINER = { account: 'coffer', container: 'coffer', prefix: 'a/b', objectLock: true };

objectLockContract('azure blob', async () => {
  const server = await startLockingAzureServer();
  const store = createOnly(await openAzureBlobStore({ ...CONTAINER, access: server.access }));
  store.close = async () => await server.stop();
  return store;
});

describe('a container with immutability', () => {
  let server: LockingAzureServer;
  let store: ObjectStore;
  before(async () => {
    server = await startLockingAzureServer();
    store = await openAzureBlobStore({ ...CONTAINER, access: server.access });
  });
  after(async () => await server.stop());

  it('keeps no version of what was deleted', async () => {
    await store.put('x', Buffer.from('x'));
    await store.delete('x');
    assert.equal(server.versionCount, 0);
    await store.delete('x');
  });

  it('has a protection locked, to the next whole second', async () => {
    await store.put('seconds', Buffer.from('x'));
    const second = Math.ceil(Date.now() / 1000) * 1000 + DAY_MS;
    await store.protect('seconds', second - 1);
    assert.deepEqual(server.policyOf('a/b/seconds'), { until: new Date(second), mode: 'locked' });
  });

  it('has its own longer default locked, and not ended earlier', async () => {
    const until = new Date(Math.ceil(Date.now() / 1000) * 1000 + 7 * DAY_MS);
    server.defaultPolicy = { until, mode: 'unlocked' };
    await store.put('default', Buffer.from('x'));
    await store.protect('default', Date.now() + DAY_MS);
    assert.deepEqual(server.policyOf('a/b/default'), { until, mode: 'locked' });
    await failsWith('object-protected', store.delete('default'));
    server.defaultPolicy = undefined;
  });
});
