import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { systemClock, systemRandom } from '@coffer/base';
import type { S3Access, StoreAccess } from './access.ts';
import { parseLocation } from './location.ts';
import type { ObjectStore } from './object-store.ts';
import { openStore, type OpenStoreOptions } from './open.ts';
import { ANY_SIZE, failsWith, listAll } from './testing/expectations.ts';
import { type OddS3Server, startOddS3Server } from './testing/odd-s3-server.ts';

const create = { name: 'probes/a', signal: new AbortController().signal };

function open(
  location: string,
  access: StoreAccess,
  options: Partial<OpenStoreOptions> = {},
): Promise<ObjectStore> {
  const system = { clock: systemClock, random: systemRandom };
  return openStore(parseLocation(location), { access, ...system, ...options });
}

describe('stores with different credentials in one process', () => {
  let one: OddS3Server;
  let other: OddS3Server;
  before(async () => {
    one = await startOddS3Server();
    other = await startOddS3Server();
    // Whoever asked the environment would find nobody there.
    Object.assign(process.env, ELSEWHERE);
  });
  after(async () => {
    for (const name of Object.keys(ELSEWHERE)) delete process.env[name];
    await one.stop();
    await other.stop();
  });

  it('are each asked as who was named, and nobody as the process', async () => {
    const stores = await Promise.all([
      open('s3://coffer/a', { s3: as('anna', one) }),
      open('s3://coffer/b', { s3: as('berta', one) }),
      open('s3://coffer/a', { s3: as('clara', other) }),
    ]);
    await Promise.all(stores.map((store, index) => store.put('x', Buffer.from(String(index)))));
    const read = await Promise.all(stores.map((store) => store.get('x', ANY_SIZE)));
    assert.deepEqual(read.map(String), ['0', '1', '2']);
    assert.deepEqual([...one.askedBy].sort(), ['anna', 'berta']);
    assert.deepEqual([...other.askedBy], ['clara']);
    await Promise.all(stores.map((store) => store.close()));
  });
});

const ELSEWHERE = {
  AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
  AWS_ACCESS_KEY_ID: 'of-the-process',
  AWS_SECRET_ACCESS_KEY: 'secret',
};

function as(accessKeyId: string, server: OddS3Server): S3Access {
  const { endpoint } = server.access;
  return { form: 'keys', accessKeyId, secretAccessKey: 'secret', ...(endpoint && { endpoint }) };
}

describe('opening a store', () => {
  it('says that credentials are missing, for the kind of store', async () => {
    for (const location of ['s3://coffer', 'azure://coffer/coffer']) {
      await failsWith('store-credentials-missing', open(location, {}));
    }
  });

  it('tries what a new place can do, and leaves nothing there', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'coffer-open-'));
    const place = join(folder, 'repository');
    await failsWith('repository-not-found', open(place, {}));
    const store = await open(place, {}, { create });
    assert.deepEqual(await listAll(store, ''), []);
    await store.close();
    assert.ok(existsSync(place));
    rmSync(folder, { recursive: true });
  });

  it('refuses a server that replaces objects, new or in use', async () => {
    const server = await startOddS3Server({ ignoresConditions: true });
    const access = { s3: server.access };
    await failsWith('store-unsupported', open('s3://coffer', access, { create }));
    const store = await open('s3://coffer', access);
    await failsWith('store-unsupported', store.put('sessions/a', Buffer.from('a')));
    await store.close();
    await server.stop();
  });
});
