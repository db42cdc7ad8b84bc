import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { accessOfEnvironment, type S3Access } from './access.ts';
import { createOnly } from './create-only.ts';
import { openS3Store } from './s3.ts';
import { objectStoreContract } from './testing/contract.ts';
import { ANY_SIZE, failsWith, listAll } from './testing/expectations.ts';
import { objectLockContract } from './testing/lock-contract.ts';
import { type S3Server, startS3Server } from './testing/s3-server.ts';
import { tryStore } from './try-store.ts';

describe('s3', () => {
  let server: S3Server;
  before(async () => {
    server = await startS3Server();
    await server.createBucket('coffer');
    await server.createBucket('locked', { objectLock: true });
  });
  after(() => server.stop());

  objectStoreContract('s3', () =>
    openS3Store({ bucket: 'coffer', prefix: 'a b/c', access: server.access }),
  );

  const openLocked = () =>
    openS3Store({ bucket: 'locked', prefix: '', objectLock: true, access: server.access });
  objectLockContract('s3', openLocked);

  it('keeps prefixes of one bucket apart', async () => {
    const open = (prefix: string) =>
      openS3Store({ bucket: 'coffer', prefix, access: server.access });
    const [one, two, whole] = await Promise.all([open('one'), open('two'), open('')]);
    await one.put('x', Buffer.from('1'));
    await two.put('x', Buffer.from('2'));
    assert.equal((await one.get('x', ANY_SIZE)).toString(), '1');
    assert.equal((await whole.get('two/x', ANY_SIZE)).toString(), '2');
    assert.deepEqual(
      (await Array.fromAsync(one.list(''))).map((info) => info.name),
      ['x'],
    );
    assert.equal(one.location, 's3://coffer/one');
    assert.equal(whole.location, 's3://coffer');
    await Promise.all([one.close(), two.close(), whole.close()]);
  });

  it('names a bucket that is missing', async () => {
    const store = await openS3Store({
      bucket: 'no-such-bucket',
      prefix: '',
      access: server.access,
    });
    await failsWith('repository-not-found', store.get('config', ANY_SIZE));
    await failsWith('repository-not-found', store.put('config', Buffer.alloc(1)));
    await failsWith('repository-not-found', Array.fromAsync(store.list('')));
    await store.close();
  });

  it('tells refused credentials from missing ones', async () => {
    const wrong = { accessKeyId: 'coffer', secretAccessKey: 'wrong' };
    const refused = await openS3Store({
      bucket: 'coffer',
      prefix: '',
      access: { ...server.access, ...wrong },
    });
    await failsWith('store-denied', refused.get('config', ANY_SIZE));
    await failsWith('store-denied', refused.stat('config'));
    await refused.close();
  });

  it('finds out where conditions are ignored, as by RGW 16 in buckets with object lock', async () => {
    for (const objectLock of [false, true]) {
      const location = { bucket: 'locked', prefix: `shown-${objectLock}`, objectLock };
      const store = await openS3Store({ ...location, access: server.access });
      await failsWith('store-unsupported', createOnly(store).put('a', Buffer.from('1')));
      await failsWith('store-unsupported', tryStore(store, 'probes/a'));
      assert.deepEqual(await listAll(store, 'probes/'), [], 'nothing of what was tried stays');
      await store.close();
    }
  });

  it('takes endpoint, region and credentials from the environment', async () => {
    await withEnvironment(server.environment, async () => {
      const access = foundBySdk();
      const store = await openS3Store({ bucket: 'coffer', prefix: 'environment', access });
      await store.put('x', Buffer.from('1'));
      assert.equal((await store.get('x', ANY_SIZE)).toString(), '1');
      await store.close();
    });
  });
});

describe('s3 without a server', () => {
  const nowhere = { AWS_ENDPOINT_URL: 'http://127.0.0.1:1', AWS_EC2_METADATA_DISABLED: 'true' };

  it('says that credentials are missing', async () => {
    await withEnvironment({ ...nowhere, HOME: '/nonexistent' }, async () => {
      const store = await openS3Store({ bucket: 'coffer', prefix: '', access: foundBySdk() });
      await failsWith('store-credentials-missing', store.get('config', ANY_SIZE));
      await store.close();
    });
  });

  it('says that the endpoint does not answer', async () => {
    const keys = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' };
    await withEnvironment({ ...nowhere, ...keys }, async () => {
      const store = await openS3Store({ bucket: 'coffer', prefix: '', access: foundBySdk() });
      await failsWith('store-unavailable', store.get('config', ANY_SIZE));
      await failsWith('store-unavailable', store.put('config', Buffer.alloc(1)));
      await store.close();
    });
  });
});

function foundBySdk(): S3Access {
  return accessOfEnvironment(process.env).s3 ?? assert.fail();
}

/** Runs `task` with these variables and without those of AWS that this machine may have. */
async function withEnvironment(
  variables: Readonly<Record<string, string>>,
  task: () => Promise<void>,
): Promise<void> {
  const saved = { ...process.env };
  for (const name of Object.keys(process.env)) {
    if (name.startsWith('AWS_')) delete process.env[name];
  }
  Object.assign(process.env, variables);
  try {
    await task();
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name];
    Object.assign(process.env, saved);
  }
}
