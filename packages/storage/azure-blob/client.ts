/** A client for a storage account. */
import type { BlobServiceClient, StoragePipelineOptions } from '@azure/storage-blob';
import { CofferError } from '@coffer/base';
import type { AzureAccess } from '../access.ts';

type Sdk = typeof import('@azure/storage-blob');

/** Retrying is the work of the wrapper. */
const PIPELINE: StoragePipelineOptions = {
  retryOptions: { maxTries: 1, tryTimeoutInMs: 120_000 },
  keepAliveOptions: { enable: true },
};

/** Fails with `store-credentials-missing` where what was given is not for `account`. */
export function openClient(sdk: Sdk, account: string, access: AzureAccess): BlobServiceClient {
  if (access.form === 'connection-string') {
    return fromConnectionString(sdk, account, access.connectionString);
  }
  const { secret, account: named } = access;
  if (named && named !== account) throw missing(account, `they are for ${named}`);
  const url = `https://${account}.blob.core.windows.net`;
  if (access.form === 'key') {
    const credential = new sdk.StorageSharedKeyCredential(account, secret);
    return new sdk.BlobServiceClient(url, credential, PIPELINE);
  }
  return new sdk.BlobServiceClient(`${url}?${secret.replace(/^\?/, '')}`, undefined, PIPELINE);
}

function fromConnectionString(sdk: Sdk, account: string, connection: string): BlobServiceClient {
  const client = parseConnectionString(sdk, account, connection);
  if (client.accountName === account) return client;
  throw missing(account, `the connection string is for ${client.accountName}`);
}

function parseConnectionString(sdk: Sdk, account: string, connection: string): BlobServiceClient {
  try {
    return sdk.BlobServiceClient.fromConnectionString(connection, PIPELINE);
  } catch {
    // Without cause: what the SDK says may quote the key.
    throw missing(account, 'the connection string is not valid');
  }
}

function missing(account: string, reason: string): CofferError {
  return new CofferError('store-credentials-missing', { account, reason });
}
