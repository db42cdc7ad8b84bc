import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { AzureAccess } from './access.ts';
import { openAzureBlobStore } from './azure-blob.ts';
import { type AzuriteServer, startAzuriteServer } from './testing/azurite-server.ts';
import { objectStoreContract } from './testing/contract.ts';
import { ANY_SIZE, failsWith } from './testing/expectations.ts';

describe('azure blob', () => {
  let server: AzuriteServer;
  before(async () => {
    server = await startAzuriteServer();
    await server.createContainer('coffer');
  });
  after(() => server.stop());

  const open = (container: string, prefix = '') =>
    openAzureBlobStore({
      account: server.account,
      container,
      prefix,
      access: server.access,
    });

  objectStoreContract('azure blob', () => open('coffer', 'a b/c'));

  it('keeps prefixes of one container apart', async () => {
    const [one, two, whole] = await Promise.all([
      open('coffer', 'one'),
      open('coffer', 'two'),
      open('coffer'),
    ]);
    await one.put('x', Buffer.from('1'));
    await two.put('x', Buffer.from('2'));
    assert.equal((await one.get('x', ANY_SIZE)).toString(), '1');
    assert.equal((await whole.get('two/x', ANY_SIZE)).toString(), '2');
    assert.deepEqual(
      (await Array.fromAsync(one.list(''))).map((info) => info.name),
      ['x'],
    );
    assert.equal(one.location, `azure://${server.account}/coffer/one`);
  });

  it('names a container that is missing', async () => {
    const store = await open('no-such-container');
    await failsWith('repository-not-found', store.get('config', ANY_SIZE));
    await failsWith('repository-not-found', store.put('config', Buffer.alloc(1)));
    await failsWith('repository-not-found', Array.fromAsync(store.list('')));
  });

  it('says that wrong credentials are refused', async () => {
    const wrong = Buffer.from('wrong').toString('base64');
    const connection = server.connectionString.replace(/AccountKey=[^;]*/, `AccountKey=${wrong}`);
    const store = await openAzureBlobStore({
      account: server.account,
      container: 'coffer',
      prefix: '',
      access: { form: 'connection-string', connectionString: connection },
    });
    await failsWith('store-denied', store.get('config', ANY_SIZE));
  });
});

describe('azure blob without a server', () => {
  const location = { account: 'coffer', container: 'coffer', prefix: '' };

  const unusable: Readonly<Record<string, AzureAccess>> = {
    'no connection string': { form: 'connection-string', connectionString: 'nonsense' },
    'of another account': { form: 'connection-string', connectionString: connectionTo('another') },
    'a key of another account': { form: 'key', secret: 'a2V5', account: 'another' },
  };
  for (const [what, access] of Object.entries(unusable)) {
    it(`refuses credentials that cannot be for the account: ${what}`, async () => {
      const opened = openAzureBlobStore({ ...location, access });
      await failsWith('store-credentials-missing', opened);
    });
  }

  it('opens with a key and with a token', async () => {
    for (const form of ['key', 'sas-token'] as const) {
      const store = await openAzureBlobStore({ ...location, access: { form, secret: 'a2V5' } });
      assert.equal(store.location, 'azure://coffer/coffer');
    }
  });

  it('says that the endpoint does not answer', async () => {
    const connectionString = connectionTo('coffer');
    const access = { form: 'connection-string', connectionString } as const;
    const store = await openAzureBlobStore({ ...location, access });
    await failsWith('store-unavailable', store.get('config', ANY_SIZE));
    await failsWith('store-unavailable', store.put('config', Buffer.alloc(1)));
  });
});

function connectionTo(account: string): string {
  const endpoint = `http://127.0.0.1:1/${account}`;
  return `DefaultEndpointsProtocol=http;AccountName=${account};AccountKey=a2V5;BlobEndpoint=${endpoint};`;
}
