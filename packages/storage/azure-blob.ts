/**
 * Objects as block blobs of a container. Each object is one Put Blob under `If-None-Match: *`: it
 * appears whole or not at all, and nothing is left behind.
 */
import type { ContainerClient } from '@azure/storage-blob';
import { type Clock, systemClock } from '@coffer/base';
import type { AzureAccess } from './access.ts';
import { openClient } from './azure-blob/client.ts';
import { azureError, factsOf } from './azure-blob/errors.ts';
import { checkName, checkPrefix, withoutLock } from './checks.ts';
import { sendStream } from './http-body.ts';
import { type Download, HttpCalls, HttpReader, type Signals } from './http-calls.ts';
import { type ListCursor, type ListPage, objectInfo, walkPages } from './listing.ts';
import type {
  ByteRange,
  CallOptions,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  StreamOptions,
} from './object-store.ts';
import { withheld } from './withheld.ts';

export interface AzureBlobStoreOptions {
  readonly account: string;
  readonly container: string;
  /** Goes before every name, with a slash; empty for the whole container. */
  readonly prefix: string;
  readonly access: AzureAccess;
  /** Tells when an answer is too slow. */
  readonly clock?: Clock;
}

/** Of a stream; Azure takes 50,000 of them. */
const BLOCK_SIZE_BYTES = 4 * 1024 * 1024;
const BLOCKS_AT_ONCE = 2;

/** Nothing is asked of the server yet: a container that is missing shows at the first call. */
export async function openAzureBlobStore(options: AzureBlobStoreOptions): Promise<ObjectStore> {
  // Loaded here, since it costs 0.5 s that commands on other stores should not pay.
  const sdk = await import('@azure/storage-blob');
  const service = openClient(sdk, options.account, options.access);
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
  readonly #calls: HttpCalls;
  readonly #reader: HttpReader;

  constructor(client: ContainerClient, options: AzureBlobStoreOptions) {
    const { account, container, prefix, clock = systemClock } = options;
    const root = `azure://${account}/${container}`;
    this.location = prefix === '' ? root : `${root}/${prefix}`;
    this.#container = client;
    this.#clock = clock;
    this.#blobPrefix = prefix === '' ? '' : `${prefix}/`;
    this.#calls = new HttpCalls({
      clock,
      explain: (error, name) =>
        azureError(error, { container, ...(name !== undefined && { name }) }),
    });
    this.#reader = new HttpReader(this, this.#calls, (...asked) => this.#download(...asked));
  }

  async put(name: string, bytes: Uint8Array, options?: CallOptions): Promise<void> {
    const blob = this.#container.getBlockBlobClient(this.#blobName(name));
    const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    await this.#calls.call(name, options, bytes.length, (signals) =>
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
      this.#calls.explained(name, { signal: abortSignal }, () =>
        blob.uploadStream(body, BLOCK_SIZE_BYTES, BLOCKS_AT_ONCE, { conditions, abortSignal }),
      ),
    );
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
    const blob = this.#container.getBlobClient(this.#blobName(name));
    return await this.#calls.call(name, options, 0, async (signals) => {
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
    await this.#calls.call(name, options, 0, (signals) => blob.deleteIfExists(signals));
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
    const page = await this.#calls.call(undefined, options, 0, (signals) =>
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

  async #download(name: string, range: ByteRange | undefined, signals: Signals): Promise<Download> {
    const blob = this.#container.getBlobClient(this.#blobName(name));
    const options = { maxRetryRequests: 0, ...signals };
    const answer = await blob.download(range?.offset ?? 0, range?.length, options);
    const { readableStreamBody: body, contentLength: length, contentRange } = answer;
    return { body, length, range: contentRange };
  }
}
