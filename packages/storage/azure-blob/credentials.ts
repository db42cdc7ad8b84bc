/** A client for a storage account, with the credentials of the usual environment. */
import type { BlobServiceClient, StoragePipelineOptions } from '@azure/storage-blob';
import { CofferError } from '@coffer/base';

type Sdk = typeof import('@azure/storage-blob');
export type Environment = Readonly<Record<string, string | undefined>>;

/** Retrying is the work of the wrapper. */
const PIPELINE: StoragePipelineOptions = {
  retryOptions: { maxTries: 1, tryTimeoutInMs: 120_000 },
  keepAliveOptions: { enable: true },
};

/**
 * Takes AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_KEY, or AZURE_STORAGE_SAS_TOKEN, in this
 * order. Fails with `store-credentials-missing` where there is none for `account`.
 */
export function openClient(sdk: Sdk, account: string, environment: Environment): BlobServiceClient {
  const {
    AZURE_STORAGE_CONNECTION_STRING: connection,
    AZURE_STORAGE_KEY: key,
    AZURE_STORAGE_SAS_TOKEN: token,
  } = environment;
  if (connection) return fromConnectionString(sdk, account, connection);
  const named = environment['AZURE_STORAGE_ACCOUNT'];
  if (named && named !== account) throw missing(account, `AZURE_STORAGE_ACCOUNT is ${named}`);
  const url = `https://${account}.blob.core.windows.net`;
  if (key) {
    const credential = new sdk.StorageSharedKeyCredential(account, key);
    return new sdk.BlobServiceClient(url, credential, PIPELINE);
  }
  if (!token) throw missing(account);
  return new sdk.BlobServiceClient(`${url}?${token.replace(/^\?/, '')}`, undefined, PIPELINE);
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

function missing(account: string, reason?: string): CofferError {
  return new CofferError('store-credentials-missing', { account, reason });
}
