/**
 * Who is let in by a store, and where it is: credentials are parameters, so that one process can use
 * several stores as several users. What variables of the environment mean is said here; only an app
 * reads them.
 */

/** What a server of S3 is told. */
export type S3Access =
  | {
      /** These keys at this server, whatever the environment of the process says. */
      readonly form: 'keys';
      readonly accessKeyId: string;
      readonly secretAccessKey: string;
      /** Of keys that were lent for a time. */
      readonly sessionToken?: string;
      /** An URL; Amazon's own unless told otherwise. */
      readonly endpoint?: string;
      /** `us-east-1` unless told otherwise, which servers without regions take. */
      readonly region?: string;
    }
  | {
      /** What AWS's own tools would find: variables, profiles, the role of the machine. */
      readonly form: 'found-by-sdk';
      readonly endpoint?: string | undefined;
      /** Where none is found. */
      readonly regionDefault?: string | undefined;
    };

/** What a storage account of Azure is told. */
export type AzureAccess =
  | { readonly form: 'connection-string'; readonly connectionString: string }
  | {
      readonly form: 'key' | 'sas-token';
      readonly secret: string;
      /** The account that it is of, where that was said; it is used for no other one. */
      readonly account?: string | undefined;
    };

/** For each kind of store; what is missing shows when a store of the kind is opened. */
export interface StoreAccess {
  readonly s3?: S3Access;
  readonly azureBlob?: AzureAccess;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * What the usual variables say: those of the AWS SDK, which reads most of them itself; and
 * AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_KEY, or AZURE_STORAGE_SAS_TOKEN, in this order.
 */
export function accessOfEnvironment(environment: Environment): StoreAccess {
  const azureBlob = azureAccess(environment);
  return { s3: s3Access(environment), ...(azureBlob && { azureBlob }) };
}

function s3Access(environment: Environment): S3Access {
  return {
    form: 'found-by-sdk',
    endpoint: environment['AWS_ENDPOINT_URL_S3'] ?? environment['AWS_ENDPOINT_URL'],
    regionDefault: environment['AWS_DEFAULT_REGION'],
  };
}

function azureAccess({
  AZURE_STORAGE_CONNECTION_STRING: connectionString,
  AZURE_STORAGE_KEY: key,
  AZURE_STORAGE_SAS_TOKEN: token,
  AZURE_STORAGE_ACCOUNT: account,
}: Environment): AzureAccess | undefined {
  if (connectionString) return { form: 'connection-string', connectionString };
  if (key) return { form: 'key', secret: key, account };
  return token ? { form: 'sas-token', secret: token, account } : undefined;
}
