import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessOfEnvironment } from './access.ts';

test('an environment that says nothing leaves S3 to its SDK, and gives none for Azure', () => {
  assert.deepEqual(accessOfEnvironment({}), {
    s3: { form: 'found-by-sdk', endpoint: undefined, regionDefault: undefined },
  });
});

test('the endpoint of S3 goes before that of all services', () => {
  const all = { AWS_ENDPOINT_URL: 'http://all' };
  const both = { ...all, AWS_ENDPOINT_URL_S3: 'http://s3', AWS_DEFAULT_REGION: 'here' };
  const endpointOf = (environment: Record<string, string>) => {
    const { s3 } = accessOfEnvironment(environment);
    return s3?.endpoint;
  };
  assert.equal(endpointOf(all), 'http://all');
  assert.equal(endpointOf(both), 'http://s3');
});

test('a connection string goes before a key, and that before a token', () => {
  const token = { AZURE_STORAGE_SAS_TOKEN: 'token', AZURE_STORAGE_ACCOUNT: 'account' };
  const key = { ...token, AZURE_STORAGE_KEY: 'key' };
  const all = { ...key, AZURE_STORAGE_CONNECTION_STRING: 'all' };
  const of = { account: 'account' };
  for (const [environment, expected] of [
    [token, { form: 'sas-token', secret: 'token', ...of }],
    [key, { form: 'key', secret: 'key', ...of }],
    [all, { form: 'connection-string', connectionString: 'all' }],
  ] as const) {
    assert.deepEqual(accessOfEnvironment(environment).azureBlob, expected);
  }
});
