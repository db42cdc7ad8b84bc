/**
 * Objects in a bucket of S3 or of a server that speaks its protocol and honours `If-None-Match: *`
 * on PutObject (AWS, Ceph RGW, MinIO and others do). Each object is one PutObject: it appears
 * whole or not at all, and nothing is left behind.
 */
import type { Readable } from 'node:stream';
import type { ListObjectsV2CommandOutput, S3Client } from '@aws-sdk/client-s3';
import { type Clock, CofferError, systemClock } from '@coffer/base';
import type { S3Access } from './access.ts';
import { checkName, checkPrefix, withoutLock } from './checks.ts';
import { rangeHeader, sendStream } from './http-body.ts';
import { type Download, HttpCalls, HttpReader, type Signals } from './http-calls.ts';
import { type ListCursor, type ListPage, objectInfo, walkPages } from './listing.ts';
import type {
  ByteRange,
  CallOptions,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  StoreCapabilities,
  StreamOptions,
} from './object-store.ts';
import { openClient } from './s3/client.ts';
import {
  contentDigest,
  hearWrappedErrors,
  sendContentDigest,
  wantsDigest,
} from './s3/content-digest.ts';
import { s3Error, statusOf } from './s3/errors.ts';
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
  readonly access: S3Access;
  /** Tells when an answer is too slow. */
  readonly clock?: Clock;
}

interface ObjectKey {
  readonly Bucket: string;
  readonly Key: string;
}

interface Version {
  readonly VersionId: string | undefined;
  readonly protectedUntil: Date | undefined;
}

type Sdk = typeof import('@aws-sdk/client-s3');

/** Of a stream, on its way: in the SDK, and in the buffers of the system. */
const STREAM_HELD_BYTES = 1024 * 1024;
/** Nothing is asked of the server yet: a bucket that is missing shows at the first call. */
export async function openS3Store(options: S3StoreOptions): Promise<ObjectStore> {
  // Loaded here, since it costs 0.3 s that commands on other stores should not pay.
  const sdk = await import('@aws-sdk/client-s3');
  const client = await openClient(sdk, options.access);
  return new S3Store(sdk, client, options);
}

class S3Store implements ObjectStore {
  readonly location: string;
  readonly capabilities: StoreCapabilities;
  readonly #sdk: Sdk;
  readonly #client: S3Client;
  readonly #clock: Clock;
  readonly #calls: HttpCalls;
  readonly #reader: HttpReader;
  readonly #bucket: string;
  readonly #keyPrefix: string;
  #sendsDigest = false;

  constructor(sdk: Sdk, client: S3Client, options: S3StoreOptions) {
    const { bucket, prefix, objectLock = false, clock = systemClock } = options;
    this.capabilities = { serverTime: true, deletes: true, finishesSessions: false, objectLock };
    this.location = prefix === '' ? `s3://${bucket}` : `s3://${bucket}/${prefix}`;
    this.#sdk = sdk;
    this.#client = client;
    this.#clock = clock;
    this.#bucket = bucket;
    this.#keyPrefix = prefix === '' ? '' : `${prefix}/`;
    this.#calls = new HttpCalls({
      clock,
      explain: (error, name) => s3Error(error, { bucket, ...(name !== undefined && { name }) }),
    });
    this.#reader = new HttpReader(this, this.#calls, (...asked) => this.#download(...asked));
  }

  async put(name: string, bytes: Uint8Array, options?: CallOptions): Promise<void> {
    const send = () =>
      this.#calls.call(name, options, bytes.length, (signals) =>
        this.#client.send(this.#putCommand(name, bytes), signals),
      );
    try {
      await send();
    } catch (error) {
      if (this.#sendsDigest || !wantsDigest(error)) throw error;
      this.#sendsDigest = true;
      await send();
    }
  }

  async putStream(
    name: string,
    source: AsyncIterable<Uint8Array>,
    options: StreamOptions,
  ): Promise<void> {
    checkName(name);
    const { sizeBytes, signal } = options;
    signal?.throwIfAborted();
    const checked = withheld(name, source, options);
    // Known whole before the server hears of it: there would be nothing to keep back.
    if (sizeBytes <= WITHHELD_SIZE_BYTES) {
      await this.put(name, await gathered(checked), options);
      return;
    }
    const pace = { clock: this.#clock, signal, heldBytes: STREAM_HELD_BYTES };
    await sendStream(checked, pace, (body, abortSignal) =>
      this.#calls.explained(name, { signal: abortSignal }, () =>
        this.#client.send(this.#streamCommand(name, body, sizeBytes), { abortSignal }),
      ),
    ).catch((error: unknown) => {
      // It comes once: whoever has it again succeeds.
      this.#sendsDigest ||= wantsDigest(error);
      throw error;
    });
  }

  async get(name: string, options: GetOptions): Promise<Buffer> {
    return await this.#reader.get(name, options);
  }

  async getRange(name: string, range: ByteRange, options?: CallOptions): Promise<Buffer> {
    return await this.#reader.getRange(name, range, options);
  }

  async getInto(
    name: string,
    offset: number,
    target: Uint8Array,
    options?: CallOptions,
  ): Promise<void> {
    await this.#reader.getInto(name, offset, target, options);
  }

  async stat(name: string, options?: CallOptions): Promise<ObjectInfo | undefined> {
    const command = new this.#sdk.HeadObjectCommand(this.#key(name));
    return await this.#calls.call(name, options, 0, async (signals) => {
      try {
        const { ContentLength, LastModified } = await this.#client.send(command, signals);
        return objectInfo(name, { sizeBytes: ContentLength, createdAt: secondsOf(LastModified) });
      } catch (error) {
        if (statusOf(error) === 404) return undefined;
        throw error;
      }
    });
  }

  async *list(prefix: string, options?: CallOptions): AsyncGenerator<ObjectInfo> {
    checkPrefix(prefix);
    yield* walkPages(this.#keyPrefix, (cursor) => this.#readPage(prefix, cursor, options));
  }

  async delete(name: string, options?: CallOptions): Promise<void> {
    const key = this.#key(name);
    await this.#calls.call(name, options, 0, async (signals) => {
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
    sendContentDigest(command);
    await this.#calls.call(name, options, 0, async (signals) => {
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

  #putCommand(name: string, bytes: Uint8Array): InstanceType<Sdk['PutObjectCommand']> {
    return new this.#sdk.PutObjectCommand({
      ...this.#key(name),
      Body: bytes,
      ContentLength: bytes.length,
      ContentMD5: this.#sendsDigest ? contentDigest(bytes) : undefined,
      IfNoneMatch: '*',
    });
  }

  /** Its checksum has to follow it, in a form that many servers do not know: for those that insist. */
  #streamCommand(
    name: string,
    body: Readable,
    sizeBytes: number,
  ): InstanceType<Sdk['PutObjectCommand']> {
    const command = new this.#sdk.PutObjectCommand({
      ...this.#key(name),
      Body: body,
      ContentLength: sizeBytes,
      ChecksumAlgorithm: this.#sendsDigest ? 'CRC32' : undefined,
      IfNoneMatch: '*',
    });
    hearWrappedErrors(command);
    return command;
  }

  /** `IsTruncated` alone says whether there is more: some servers send a token in any case. */
  async #readPage(
    prefix: string,
    cursor: ListCursor | undefined,
    options: CallOptions | undefined,
  ): Promise<ListPage> {
    const command = new this.#sdk.ListObjectsV2Command({
      Bucket: this.#bucket,
      Prefix: `${this.#keyPrefix}${prefix}`,
      ContinuationToken: cursor && 'token' in cursor ? cursor.token : undefined,
      StartAfter: cursor && 'after' in cursor ? cursor.after : undefined,
    });
    const page = await this.#calls.call(undefined, options, 0, (signals) =>
      this.#client.send(command, signals),
    );
    const objects = (page.Contents ?? []).map(({ Key, Size, LastModified }) => ({
      name: Key,
      sizeBytes: Size,
      createdAt: secondsOf(LastModified),
    }));
    return { objects, next: page.IsTruncated === true ? cursorOf(page) : undefined };
  }

  async #download(name: string, range: ByteRange | undefined, signals: Signals): Promise<Download> {
    const command = new this.#sdk.GetObjectCommand({
      ...this.#key(name),
      Range: range && rangeHeader(range),
    });
    const { Body, ContentLength, ContentRange } = await this.#client.send(command, signals);
    return { body: Body, length: ContentLength, range: ContentRange };
  }
}

/** Where there is no token, the last name will do: servers without tokens understand that. */
function cursorOf(page: ListObjectsV2CommandOutput): ListCursor {
  if (page.NextContinuationToken) return { token: page.NextContinuationToken };
  return { after: page.Contents?.at(-1)?.Key ?? '' };
}

/** Whole seconds, since that is what HTTP headers carry: list and stat have to agree. */
function secondsOf(time: Date | undefined): number | undefined {
  return time && Math.floor(time.getTime() / 1000) * 1000;
}
