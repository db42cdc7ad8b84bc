/** A client for a server of S3. */
import type { S3Client, S3ClientConfig } from '@aws-sdk/client-s3';
import type { S3Access } from '../access.ts';

type Sdk = typeof import('@aws-sdk/client-s3');

/** Connections at once; one call holds one. */
const SOCKET_COUNT_MAX = 64;
const CONNECTION_TIMEOUT_MS = 10_000;
/** A connection on which nothing moves for so long is given up. */
const SOCKET_TIMEOUT_MS = 60_000;
/** What servers without regions are told; the SDK insists on one. */
const REGION_DEFAULT = 'us-east-1';

export async function openClient(sdk: Sdk, access: S3Access): Promise<S3Client> {
  if (access.form === 'keys') return new sdk.S3Client(configWithKeys(access));
  const { endpoint, regionDefault = REGION_DEFAULT } = access;
  const config = configAt(endpoint);
  const client = new sdk.S3Client(config);
  try {
    await client.config.region();
    return client;
  } catch {
    client.destroy();
    return new sdk.S3Client({ ...config, region: regionDefault });
  }
}

function configWithKeys(access: Extract<S3Access, { form: 'keys' }>): S3ClientConfig {
  const { accessKeyId, secretAccessKey, sessionToken, endpoint, region = REGION_DEFAULT } = access;
  return {
    ...configAt(endpoint),
    region,
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) },
    // Of variables and profiles: what was given would go to another server than was meant.
    ignoreConfiguredEndpointUrls: true,
    useFipsEndpoint: false,
    useDualstackEndpoint: false,
  };
}

function configAt(endpoint: string | undefined): S3ClientConfig {
  const agent = { keepAlive: true, maxSockets: SOCKET_COUNT_MAX };
  return {
    ...(endpoint !== undefined && { endpoint }),
    // Servers on one's own machines seldom have a host name for each bucket.
    forcePathStyle: endpoint !== undefined,
    // Retrying is the work of the wrapper.
    maxAttempts: 1,
    // Newer checksums are unknown to many servers, which refuse them. What is sent is covered by the
    // signature, and what comes is sealed.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // It would write to the terminal about streams that are not tried again.
    logger: { debug: silent, info: silent, warn: silent, error: silent },
    requestHandler: {
      connectionTimeout: CONNECTION_TIMEOUT_MS,
      socketTimeout: SOCKET_TIMEOUT_MS,
      httpAgent: agent,
      httpsAgent: agent,
    },
  };
}

function silent(): void {
  // Errors tell what has gone wrong.
}
