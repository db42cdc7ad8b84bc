/**
 * Objects as block blobs of a container. Each object is one Put Blob under `If-None-Match: *`: it
 * appears whole or not at all, and nothing is left behind.
 */
import type { ContainerClient } from '@azure/storage-blob';
import { type Clock, systemClock } from '@coffer/base';
import { type Environment, openClient } from './azure-blob/credentials.ts';
import { azureError, factsOf } from './azure-blob/errors.ts';
import { checkName, checkPrefix, checkRange, readNothing, withoutLock } from './checks.ts';
import { type Answer, readRangeInto, readWhole, sendStream } from './http-body.ts';
import { type ListCursor, type ListPage, objectInfo, walkPages } from './listing.ts';
import type {
  ByteRange,
  CallOptions,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  StreamOptions,
} from './object-store.ts';
import { answerMs, withDeadline } from './pace.ts';
import { withheld } from './withheld.ts';

export interface AzureBlobStoreOptions {
  readonly account: string;
  readonly container: string;
  /** Goes before every name, with a slash; empty for the whole container. */
  readonly prefix: string;
  /** Holds the credentials; the environment of the process unless told otherwise. */
  readonly environment?: Environment;
  /** Tells when an answer is too slow. */
  readonly clock?: Clock;
}

/** Of a stream; Azure takes 50,000 of them. */
const BLOCK_SIZE_BYTES = 4 * 1024 * 1024;
const BLOCKS_AT_ONCE = 2;

interface Signals {
  readonly abortSignal: AbortSignal;
}

/** Nothing is asked of the server yet: a container that is missing shows at the first call. */
export async function openAzureBlobStore(options: AzureBlobStoreOptions): Promise<ObjectStore> {
  // Loaded here, since it costs 0.5 s that commands on other stores should not pay.
  const sdk = await import('@azure/storage-blob');
  const service = openClient(sdk, options.account, options.environment ?? process.env);
  return new AzureBlobStore(service.getContainerClient(options.container), options);
}

class AzureBlobStore implements ObjectStore {
  readonly location: string;
  readonly capabilities = {
    serverTime: true,
    deletes: true,
    finishesSessions: false,
    objectLock: false,
  };
  readonly #container: ContainerClient;
  readonly #blobPrefix: string;
  readonly #clock: Clock;

  constructor(client: ContainerClient, options: AzureBlobStoreOptions) {
    const { account, container, prefix, clock } = options;
    const root = `azure://${account}/${container}`;
    this.location = prefix === '' ? root : `${root}/${prefix}`;
    this.#container = client;
    this.#clock = clock ?? systemClock;
    this.#blobPrefix = prefix === '' ? '' : `${prefix}/`;
  }

  async put(name: string, bytes: Uint8Array, options?: CallOptions): Promise<void> {
    const blob = this.#container.getBlockBlobClient(this.#blobName(name));
    const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    await this.#call(name, options, bytes.length, (signals) =>
      blob.upload(body, body.length, { conditions: { ifNoneMatch: '*' }, ...signals }),
    );
  }

  /** In blocks, which are nothing until the last call names them; Azure forgets others in a week. */
  async putStream(
    name: string,
    source: AsyncIterable<Uint8Array>,
    options: StreamOptions,
  ): Promise<void> {
    const blob = this.#container.getBlockBlobClient(this.#blobName(name));
    options.signal?.throwIfAborted();
    const checked = withheld(name, source, options);
    const conditions = { ifNoneMatch: '*' };
    const heldBytes = BLOCK_SIZE_BYTES * BLOCKS_AT_ONCE;
    const pace = { clock: this.#clock, signal: options.signal, heldBytes };
    await sendStream(checked, pace, (body, abortSignal) =>
      this.#explained(name, { signal: abortSignal }, () =>
        blob.uploadStream(body, BLOCK_SIZE_BYTES, BLOCKS_AT_ONCE, { conditions, abortSignal }),
      ),
    );
  }

  async get(name: string, options: GetOptions): Promise<Buffer> {
    return await this.#read(name, undefined, options, (answer) => readWhole(name, answer, options));
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
    await this.#read(name, range, options, (answer) => readRangeInto(name, offset, target, answer));
  }

  async stat(name: string, options?: CallOptions): Promise<ObjectInfo | undefined> {
    const blob = this.#container.getBlobClient(this.#blobName(name));
    return await this.#call(name, options, 0, async (signals) => {
      try {
        const { contentLength, lastModified } = await blob.getProperties(signals);
        const createdAt = lastModified?.getTime();
        return objectInfo(name, { sizeBytes: contentLength, createdAt });
      } catch (error) {
        if (factsOf(error).status === 404) return undefined;
        throw error;
      }
    });
  }

  async *list(prefix: string, options?: CallOptions): AsyncGenerator<ObjectInfo> {
    checkPrefix(prefix);
    yield* walkPages(this.#blobPrefix, (cursor) => this.#readPage(prefix, cursor, options));
  }

  async delete(name: string, options?: CallOptions): Promise<void> {
    const blob = this.#container.getBlobClient(this.#blobName(name));
    await this.#call(name, options, 0, (signals) => blob.deleteIfExists(signals));
  }

  async protect(): Promise<void> {
    throw withoutLock(this);
  }

  async removeLeftovers(): Promise<void> {
    // A Put Blob that was killed leaves nothing.
  }

  async close(): Promise<void> {
    // The SDK shares idle connections among all of its clients; they do not keep a process alive.
  }

  #blobName(name: string): string {
    checkName(name);
    return `${this.#blobPrefix}${name}`;
  }

  /** One page: the SDK would follow every token by itself, and never stop. */
  async #readPage(
    prefix: string,
    cursor: ListCursor | undefined,
    options: CallOptions | undefined,
  ): Promise<ListPage> {
    const fullPrefix = `${this.#blobPrefix}${prefix}`;
    const query = fullPrefix === '' ? {} : { prefix: fullPrefix };
    const settings = cursor && 'token' in cursor ? { continuationToken: cursor.token } : {};
    const page = await this.#call(undefined, options, 0, (signals) =>
      this.#container
        .listBlobsFlat({ ...query, ...signals })
        .byPage(settings)
        .next(),
    );
    if (page.done === true) return { objects: [], next: undefined };
    const { segment, continuationToken: token } = page.value;
    const objects = segment.blobItems.map(({ name, properties }) => ({
      name,
      sizeBytes: properties.contentLength,
      createdAt: properties.lastModified?.getTime(),
    }));
    return { objects, next: token ? { token } : undefined };
  }

  async #read<T>(
    name: string,
    range: ByteRange | undefined,
    options: CallOptions | undefined,
    use: (answer: Answer) => Promise<T>,
  ): Promise<T> {
    const blob = this.#container.getBlobClient(this.#blobName(name));
    const answer = await this.#call(name, options, 0, (signals) =>
      blob.download(range?.offset ?? 0, range?.length, { maxRetryRequests: 0, ...signals }),
    );
    const { readableStreamBody: body, contentLength: length, contentRange } = answer;
    const part = { body, length, range: contentRange };
    return await this.#explained(name, options, () =>
      use({ ...part, signal: options?.signal, clock: this.#clock }),
    );
  }

  /** A call with a short answer, and a limit of time that allows for what it sends. */
  async #call<T>(
    name: string | undefined,
    options: CallOptions | undefined,
    sentBytes: number,
    call: (signals: Signals) => Promise<T>,
  ): Promise<T> {
    options?.signal?.throwIfAborted();
    return await this.#explained(name, options, () =>
      withDeadline(this.#clock, answerMs(sentBytes), options?.signal, (abortSignal) =>
        call({ abortSignal }),
      ),
    );
  }

  async #explained<T>(
    name: string | undefined,
    options: CallOptions | undefined,
    call: () => Promise<T>,
  ): Promise<T> {
    try {
      return await call();
    } catch (error) {
      options?.signal?.throwIfAborted();
      const container = this.#container.containerName;
      throw azureError(error, { container, ...(name === undefined ? {} : { name }) });
    }
  }
}
