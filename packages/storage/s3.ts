/**
 * Objects in a bucket of S3 or of a server that speaks its protocol and honours `If-None-Match: *`
 * on PutObject (AWS, Ceph RGW, MinIO and others do). Each object is one PutObject: it appears
 * whole or not at all, and nothing is left behind.
 */
import type { S3Client, S3ClientConfig } from '@aws-sdk/client-s3';
import { CofferError, assert } from '@coffer/base';
import { checkName, checkPrefix, checkRange, readNothing, withoutLock } from './checks.ts';
import { type Answer, rangeHeader, readRangeInto, readWhole, sendStream } from './http-body.ts';
import { s3Error, statusOf } from './s3/errors.ts';
import {
  type ByteRange,
  type CallOptions,
  type GetOptions,
  type ObjectInfo,
  type ObjectStore,
  type StoreCapabilities,
  type StreamOptions,
  isObjectName,
} from './object-store.ts';
import { gathered, withheld, WITHHELD_SIZE_BYTES } from './withheld.ts';

export interface S3StoreOptions {
  readonly bucket: string;
  /** Goes before every name, with a slash; empty for the whole bucket. */
  readonly prefix: string;
  /**
   * The bucket was made with object lock, so it keeps versions. Ceph's RGW (16) replaces objects in
   * such buckets in spite of `If-None-Match`: only servers that heed it there can hold a repository.
   */
  readonly objectLock?: boolean;
  /** Goes before the usual environment (AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, ...). */
  readonly client?: S3ClientConfig;
}

interface ObjectKey {
  readonly Bucket: string;
  readonly Key: string;
}

interface Version {
  readonly VersionId: string | undefined;
  readonly protectedUntil: Date | undefined;
}

interface Signals {
  readonly abortSignal?: AbortSignal;
}

type Sdk = typeof import('@aws-sdk/client-s3');

/** Connections at once; one call holds one. */
const SOCKET_COUNT_MAX = 64;
const CONNECTION_TIMEOUT_MS = 10_000;
/** A connection on which nothing moves for so long is given up. */
const SOCKET_TIMEOUT_MS = 60_000;
/** What servers without regions are told; the SDK insists on one. */
const REGION_DEFAULT = 'us-east-1';

/** Nothing is asked of the server yet: a bucket that is missing shows at the first call. */
export async function openS3Store(options: S3StoreOptions): Promise<ObjectStore> {
  // Loaded here, since it costs 0.3 s that commands on other stores should not pay.
  const sdk = await import('@aws-sdk/client-s3');
  const given = options.client ?? {};
  // A checksum that follows the body hides its length, on which many servers insist.
  const forStreams = { ...given, requestChecksumCalculation: 'WHEN_REQUIRED' } as const;
  const clients = [await openClient(sdk, given), await openClient(sdk, forStreams)] as const;
  return new S3Store(sdk, clients, options);
}

async function openClient(sdk: Sdk, given: S3ClientConfig): Promise<S3Client> {
  const environment = process.env;
  const isCustom =
    (given.endpoint ?? environment['AWS_ENDPOINT_URL_S3'] ?? environment['AWS_ENDPOINT_URL']) !==
    undefined;
  const agent = { keepAlive: true, maxSockets: SOCKET_COUNT_MAX };
  const config: S3ClientConfig = {
    // Retrying is the work of the wrapper.
    maxAttempts: 1,
    // Servers on one's own machines seldom have a host name for each bucket.
    forcePathStyle: isCustom,
    requestHandler: {
      connectionTimeout: CONNECTION_TIMEOUT_MS,
      socketTimeout: SOCKET_TIMEOUT_MS,
      httpAgent: agent,
      httpsAgent: agent,
    },
    ...given,
  };
  const client = new sdk.S3Client(config);
  try {
    await client.config.region();
    return client;
  } catch {
    client.destroy();
    const region = environment['AWS_DEFAULT_REGION'] ?? REGION_DEFAULT;
    return new sdk.S3Client({ ...config, region });
  }
}

class S3Store implements ObjectStore {
  readonly location: string;
  readonly capabilities: StoreCapabilities;
  readonly #sdk: Sdk;
  readonly #client: S3Client;
  readonly #streamClient: S3Client;
  readonly #bucket: string;
  readonly #keyPrefix: string;

  constructor(
    sdk: Sdk,
    [client, streamClient]: readonly [S3Client, S3Client],
    options: S3StoreOptions,
  ) {
    const { bucket, prefix, objectLock = false } = options;
    this.capabilities = { serverTime: true, deletes: true, finishesSessions: false, objectLock };
    this.location = prefix === '' ? `s3://${bucket}` : `s3://${bucket}/${prefix}`;
    this.#sdk = sdk;
    this.#client = client;
    this.#streamClient = streamClient;
    this.#bucket = bucket;
    this.#keyPrefix = prefix === '' ? '' : `${prefix}/`;
  }

  async put(name: string, bytes: Uint8Array, options?: CallOptions): Promise<void> {
    const command = new this.#sdk.PutObjectCommand({
      ...this.#key(name),
      Body: bytes,
      ContentLength: bytes.length,
      IfNoneMatch: '*',
    });
    await this.#call(name, options, (signals) => this.#client.send(command, signals));
  }

  async putStream(
    name: string,
    source: AsyncIterable<Uint8Array>,
    options: StreamOptions,
  ): Promise<void> {
    const key = this.#key(name);
    const { sizeBytes: ContentLength, signal } = options;
    signal?.throwIfAborted();
    const checked = withheld(name, source, options);
    // Known whole before the server hears of it: there would be nothing to keep back.
    if (ContentLength <= WITHHELD_SIZE_BYTES) {
      await this.put(name, await gathered(checked), options);
      return;
    }
    await sendStream(checked, signal, async (Body, sending) => {
      const parameters = { ...key, Body, ContentLength, IfNoneMatch: '*' };
      const command = new this.#sdk.PutObjectCommand(parameters);
      await this.#call(name, { signal: sending }, (signals) =>
        this.#streamClient.send(command, signals),
      );
    });
  }

  async get(name: string, options: GetOptions): Promise<Buffer> {
    return await this.#call(name, options, async (signals) =>
      readWhole(name, await this.#answer(name, undefined, signals), options),
    );
  }

  async getRange(name: string, range: ByteRange, options?: CallOptions): Promise<Buffer> {
    checkRange(range);
    const target = Buffer.allocUnsafe(range.length);
    await this.getInto(name, range.offset, target, options);
    return target;
  }

  async getInto(
    name: string,
    offset: number,
    target: Uint8Array,
    options?: CallOptions,
  ): Promise<void> {
    const range = { offset, length: target.length };
    checkRange(range);
    if (range.length === 0) {
      await readNothing(this, name, offset, options?.signal);
      return;
    }
    await this.#call(name, options, async (signals) =>
      readRangeInto(name, offset, target, await this.#answer(name, range, signals)),
    );
  }

  async stat(name: string, options?: CallOptions): Promise<ObjectInfo | undefined> {
    const command = new this.#sdk.HeadObjectCommand(this.#key(name));
    return await this.#call(name, options, async (signals) => {
      try {
        const { ContentLength, LastModified } = await this.#client.send(command, signals);
        return objectInfo(name, ContentLength, LastModified);
      } catch (error) {
        if (statusOf(error) === 404) return undefined;
        throw error;
      }
    });
  }

  async *list(prefix: string, options?: CallOptions): AsyncGenerator<ObjectInfo> {
    checkPrefix(prefix);
    for (let token: string | undefined; ;) {
      const command = new this.#sdk.ListObjectsV2Command({
        Bucket: this.#bucket,
        Prefix: `${this.#keyPrefix}${prefix}`,
        ContinuationToken: token,
      });
      const page = await this.#call(undefined, options, (signals) =>
        this.#client.send(command, signals),
      );
      for (const { Key = '', Size, LastModified } of page.Contents ?? []) {
        const name = Key.slice(this.#keyPrefix.length);
        if (isObjectName(name)) yield objectInfo(name, Size, LastModified);
      }
      token = page.NextContinuationToken;
      if (token === undefined) return;
    }
  }

  async delete(name: string, options?: CallOptions): Promise<void> {
    const key = this.#key(name);
    await this.#call(name, options, async (signals) => {
      if (this.capabilities.objectLock) {
        await this.#deleteVersion(key, signals);
      } else {
        await this.#client.send(new this.#sdk.DeleteObjectCommand(key), signals);
      }
    });
  }

  /** In the mode that nobody can lift, whoever has the credentials. */
  async protect(name: string, untilMs: number, options?: CallOptions): Promise<void> {
    if (!this.capabilities.objectLock) throw withoutLock(this);
    const key = this.#key(name);
    const RetainUntilDate = new Date(Math.ceil(untilMs / 1000) * 1000);
    const command = new this.#sdk.PutObjectRetentionCommand({
      ...key,
      Retention: { Mode: 'COMPLIANCE', RetainUntilDate },
    });
    await this.#call(name, options, async (signals) => {
      try {
        await this.#client.send(command, signals);
      } catch (error) {
        // Refused as well where it would end the protection earlier.
        const protectedUntil = (await this.#version(key, signals))?.protectedUntil;
        if (protectedUntil === undefined || protectedUntil < RetainUntilDate) throw error;
      }
    });
  }

  async removeLeftovers(): Promise<void> {
    // A PutObject that was killed leaves nothing.
  }

  async close(): Promise<void> {
    this.#client.destroy();
    this.#streamClient.destroy();
  }

  #key(name: string): ObjectKey {
    checkName(name);
    return { Bucket: this.#bucket, Key: `${this.#keyPrefix}${name}` };
  }

  /** Without its version, an object would only be hidden, and take its space for ever. */
  async #deleteVersion(key: ObjectKey, signals: Signals): Promise<void> {
    const version = await this.#version(key, signals);
    if (!version) return;
    const { VersionId, protectedUntil } = version;
    try {
      await this.#client.send(new this.#sdk.DeleteObjectCommand({ ...key, VersionId }), signals);
    } catch (error) {
      if (statusOf(error) !== 403 || !protectedUntil) throw error;
      const until = protectedUntil.toISOString();
      throw new CofferError('object-protected', { object: key.Key, until }, error);
    }
  }

  async #version(key: ObjectKey, signals: Signals): Promise<Version | undefined> {
    try {
      const answer = await this.#client.send(new this.#sdk.HeadObjectCommand(key), signals);
      const { VersionId, ObjectLockRetainUntilDate: protectedUntil } = answer;
      return { VersionId, protectedUntil };
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw error;
    }
  }

  async #answer(name: string, range: ByteRange | undefined, signals: Signals): Promise<Answer> {
    const command = new this.#sdk.GetObjectCommand({
      ...this.#key(name),
      Range: range && rangeHeader(range),
    });
    const { Body, ContentLength } = await this.#client.send(command, signals);
    return { body: Body, length: ContentLength, signal: signals.abortSignal };
  }

  async #call<T>(
    name: string | undefined,
    options: CallOptions | undefined,
    call: (signals: Signals) => Promise<T>,
  ): Promise<T> {
    const signal = options?.signal;
    signal?.throwIfAborted();
    try {
      return await call(signal ? { abortSignal: signal } : {});
    } catch (error) {
      signal?.throwIfAborted();
      throw s3Error(error, { bucket: this.#bucket, ...(name === undefined ? {} : { name }) });
    }
  }
}

function objectInfo(name: string, size: number | undefined, time: Date | undefined): ObjectInfo {
  assert(size !== undefined && time !== undefined, 'S3 tells size and time of every object');
  // Whole seconds, since that is what HTTP headers carry: list and stat have to agree.
  return { name, sizeBytes: size, createdAt: Math.floor(time.getTime() / 1000) * 1000 };
}
