/**
 * Objects as block blobs of a container. Each object is one Put Blob under `If-None-Match: *`: it
 * appears whole or not at all, and nothing is left behind.
 */
import type { ContainerClient } from '@azure/storage-blob';
import { assert } from '@coffer/base';
import { type Environment, openClient } from './azure-blob/credentials.ts';
import { azureError, factsOf } from './azure-blob/errors.ts';
import { checkName, checkPrefix, checkRange, readNothing, withoutLock } from './checks.ts';
import { type Answer, readRangeInto, readWhole, sendStream } from './http-body.ts';
import {
  type ByteRange,
  type CallOptions,
  type GetOptions,
  type ObjectInfo,
  type ObjectStore,
  type StreamOptions,
  isObjectName,
} from './object-store.ts';
import { withheld } from './withheld.ts';

export interface AzureBlobStoreOptions {
  readonly account: string;
  readonly container: string;
  /** Goes before every name, with a slash; empty for the whole container. */
  readonly prefix: string;
  /** Holds the credentials; the environment of the process unless told otherwise. */
  readonly environment?: Environment;
}

/** Of a stream; Azure takes 50,000 of them. */
const BLOCK_SIZE_BYTES = 4 * 1024 * 1024;
const BLOCKS_AT_ONCE = 2;

interface Signals {
  readonly abortSignal?: AbortSignal;
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

  constructor(client: ContainerClient, { account, container, prefix }: AzureBlobStoreOptions) {
    const root = `azure://${account}/${container}`;
    this.location = prefix === '' ? root : `${root}/${prefix}`;
    this.#container = client;
    this.#blobPrefix = prefix === '' ? '' : `${prefix}/`;
  }

  async put(name: string, bytes: Uint8Array, options?: CallOptions): Promise<void> {
    const blob = this.#container.getBlockBlobClient(this.#blobName(name));
    const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    await this.#call(name, options, (signals) =>
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
    await sendStream(checked, options.signal, async (body, signal) => {
      await this.#call(name, { signal }, (signals) =>
        blob.uploadStream(body, BLOCK_SIZE_BYTES, BLOCKS_AT_ONCE, { conditions, ...signals }),
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
    const blob = this.#container.getBlobClient(this.#blobName(name));
    return await this.#call(name, options, async (signals) => {
      try {
        const { contentLength, lastModified } = await blob.getProperties(signals);
        return objectInfo(name, contentLength, lastModified);
      } catch (error) {
        if (factsOf(error).status === 404) return undefined;
        throw error;
      }
    });
  }

  async *list(prefix: string, options?: CallOptions): AsyncGenerator<ObjectInfo> {
    checkPrefix(prefix);
    const fullPrefix = `${this.#blobPrefix}${prefix}`;
    const query = fullPrefix === '' ? {} : { prefix: fullPrefix };
    const signal = options?.signal;
    const pages = this.#container
      .listBlobsFlat({ ...query, ...(signal ? { abortSignal: signal } : {}) })
      .byPage();
    for (;;) {
      const page = await this.#call(undefined, options, () => pages.next());
      if (page.done === true) return;
      for (const { name: blobName, properties } of page.value.segment.blobItems) {
        const name = blobName.slice(this.#blobPrefix.length);
        if (!isObjectName(name)) continue;
        yield objectInfo(name, properties.contentLength, properties.lastModified);
      }
    }
  }

  async delete(name: string, options?: CallOptions): Promise<void> {
    const blob = this.#container.getBlobClient(this.#blobName(name));
    await this.#call(name, options, (signals) => blob.deleteIfExists(signals));
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

  async #answer(name: string, range: ByteRange | undefined, signals: Signals): Promise<Answer> {
    const blob = this.#container.getBlobClient(this.#blobName(name));
    const answer = await blob.download(range?.offset ?? 0, range?.length, {
      maxRetryRequests: 0,
      ...signals,
    });
    return {
      body: answer.readableStreamBody,
      length: answer.contentLength,
      signal: signals.abortSignal,
    };
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
      const container = this.#container.containerName;
      throw azureError(error, { container, ...(name === undefined ? {} : { name }) });
    }
  }
}

function objectInfo(name: string, size: number | undefined, time: Date | undefined): ObjectInfo {
  assert(size !== undefined && time !== undefined, 'Azure tells size and time of every blob');
  return { name, sizeBytes: size, createdAt: time.getTime() };
}
