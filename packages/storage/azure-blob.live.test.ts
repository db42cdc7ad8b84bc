import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
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
      environment: server.environment,
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
      environment: { AZURE_STORAGE_CONNECTION_STRING: connection },
    });
    await failsWith('store-denied', store.get('config', ANY_SIZE));
  });
});

describe('azure blob without a server', () => {
  const location = { account: 'coffer', container: 'coffer', prefix: '' };

  it('says which credentials are missing', async () => {
    const environments = [
      {},
      { AZURE_STORAGE_CONNECTION_STRING: 'nonsense' },
      { AZURE_STORAGE_CONNECTION_STRING: connectionTo('another') },
      { AZURE_STORAGE_ACCOUNT: 'another', AZURE_STORAGE_KEY: 'a2V5' },
    ];
    for (const environment of environments) {
      const opened = openAzureBlobStore({ ...location, environment });
      await failsWith('store-credentials-missing', opened);
    }
  });

  it('opens with a key and with a token', async () => {
    for (const name of ['AZURE_STORAGE_KEY', 'AZURE_STORAGE_SAS_TOKEN']) {
      const store = await openAzureBlobStore({ ...location, environment: { [name]: 'a2V5' } });
      assert.equal(store.location, 'azure://coffer/coffer');
    }
  });

  it('says that the endpoint does not answer', async () => {
    const environment = { AZURE_STORAGE_CONNECTION_STRING: connectionTo('coffer') };
    const store = await openAzureBlobStore({ ...location, environment });
    await failsWith('store-unavailable', store.get('config', ANY_SIZE));
    await failsWith('store-unavailable', store.put('config', Buffer.alloc(1)));
  });
});

function connectionTo(account: string): string {
  const endpoint = `http://127.0.0.1:1/${account}`;
  return `DefaultEndpointsProtocol=http;AccountName=${account};AccountKey=a2V5;BlobEndpoint=${endpoint};`;
}
