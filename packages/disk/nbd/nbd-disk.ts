/** An NBD export as a disk. Large reads and writes are cut into requests that run at once. */
import { CofferError, isCofferError, Semaphore, TaskQueue } from '@coffer/base';
import { type ByteRange, type Extent, wholeOf, type WritableDisk } from '../disk.ts';
import {
  type ClientConnections,
  type ConnectionsOptions,
  openConnections,
} from './client-connections.ts';
import type { ClientRequest } from './client-connection.ts';
import type { NegotiatedExport } from './client-handshake-machine.ts';
import { invalid } from './handshake-codec.ts';
import {
  ALLOCATION,
  BASE_ALLOCATION,
  EXPORT_FLAG,
  LENGTH_MAX,
  PAYLOAD_SIZE_MAX,
} from './protocol.ts';
import type { StatusDescriptor } from './transmission-codec.ts';

export interface NbdDiskOptions extends ConnectionsOptions {
  readonly writable: boolean;
  /** Contexts that are asked for besides `base:allocation`, for example `qemu:dirty-bitmap:vda`. */
  readonly contexts?: readonly string[];
}

export interface ContextExtent extends ByteRange {
  /** What the flags say is a matter of the context. */
  readonly flags: number;
}

/** Large enough to cost little, small enough to be many at once. */
const REQUEST_SIZE_BYTES = 512 * 1024;
const REQUESTS_AT_ONCE = 32;
const ZEROES_SIZE_MAX = 1024 * 1024 * 1024;
const ZEROES = Buffer.alloc(REQUEST_SIZE_BYTES);

/** Opens an export. Fails as `connectToExport`, and with `target-unwritable` when it is read-only. */
export async function openNbdDisk(options: NbdDiskOptions): Promise<NbdDisk> {
  const contexts = [BASE_ALLOCATION, ...(options.contexts ?? [])];
  const connections = await openConnections(options, contexts);
  if (options.writable && (connections.negotiated.flags & EXPORT_FLAG.readOnly) !== 0) {
    await connections.close();
    const { exportName } = options.address;
    throw new CofferError('target-unwritable', { export: exportName, reason: 'read-only' });
  }
  return new NbdDisk(connections);
}

export class NbdDisk implements WritableDisk {
  readonly sizeBytes: number;
  readonly negotiated: NegotiatedExport;
  readonly #connections: ClientConnections;
  /** What a block is at least, and a request at most. */
  readonly #min: number;
  readonly #max: number;
  /** One write at a time may change a part of a block. */
  readonly #partialWrites = new Semaphore(1);

  constructor(connections: ClientConnections) {
    this.#connections = connections;
    this.negotiated = connections.negotiated;
    this.sizeBytes = this.negotiated.sizeBytes;
    this.#min = this.negotiated.blockSizes?.min ?? 1;
    this.#max = this.negotiated.blockSizes?.max ?? PAYLOAD_SIZE_MAX;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    if (offset + target.length > this.sizeBytes) {
      throw new CofferError('source-changed', { endsAt: this.sizeBytes });
    }
    const blocks = this.#blocksAround(offset, target.length);
    if (blocks.length === target.length) {
      await this.#readBlocks(offset, target);
      return;
    }
    const bytes = Buffer.allocUnsafe(blocks.length);
    await this.#readBlocks(blocks.offset, bytes);
    const start = offset - blocks.offset;
    target.set(bytes.subarray(start, start + target.length));
  }

  async *extents(range: ByteRange = wholeOf(this)): AsyncGenerator<Extent> {
    if (!this.negotiated.contexts.has(BASE_ALLOCATION)) {
      if (range.length > 0) yield { ...range, kind: 'data' };
      return;
    }
    for await (const { offset, length, flags } of this.contextExtents(BASE_ALLOCATION, range)) {
      yield { offset, length, kind: (flags & ALLOCATION.zero) !== 0 ? 'zero' : 'data' };
    }
  }

  /**
   * What a context that was granted says of a range, in order and without gaps. Fails with
   * `nbd-refused` where it was not granted.
   */
  async *contextExtents(context: string, range: ByteRange): AsyncGenerator<ContextExtent> {
    const id = this.negotiated.contexts.get(context);
    if (id === undefined) {
      throw new CofferError('nbd-refused', { context, reason: 'the server does not grant it' });
    }
    const end = range.offset + range.length;
    // Of the first block, what lies before the range is left out.
    let { offset } = this.#blocksAround(range.offset, range.length);
    while (offset < end) {
      for (const { length, flags } of await this.#status(id, offset, end - offset)) {
        const start = Math.max(offset, range.offset);
        // The last extent may go on beyond what was asked for.
        offset = Math.min(offset + length, end);
        if (offset > start) yield { offset: start, length: offset - start, flags };
      }
    }
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    const blocks = this.#blocksAround(offset, bytes.length);
    if (blocks.length === bytes.length) await this.#writeBlocks(offset, bytes);
    else await this.#partialWrites.run(() => this.#writeParts(blocks, offset, bytes));
  }

  async zero(offset: number, length: number): Promise<void> {
    const start = Math.ceil(offset / this.#min) * this.#min;
    const end = Math.floor((offset + length) / this.#min) * this.#min;
    if (start >= end) {
      await this.write(offset, ZEROES.subarray(0, length));
      return;
    }
    await this.write(offset, ZEROES.subarray(0, start - offset));
    await this.#zeroBlocks(start, end - start);
    await this.write(end, ZEROES.subarray(0, offset + length - end));
  }

  async flush(): Promise<void> {
    if ((this.negotiated.flags & EXPORT_FLAG.flush) === 0) return;
    await this.#request({ command: 'flush', offset: 0, length: 0 });
  }

  async close(): Promise<void> {
    await this.#connections.close();
  }

  async #status(id: number, offset: number, length: number): Promise<StatusDescriptor[]> {
    const blocks = this.#blocksAround(offset, Math.min(length, LENGTH_MAX));
    let found: StatusDescriptor[] = [];
    await this.#request({
      command: 'blockStatus',
      ...blocks,
      onStatus: (contextId, descriptors) => {
        if (contextId === id) found = descriptors;
      },
    });
    if (found.length === 0) throw invalid('a status without a word on the context');
    return found;
  }

  /** The smallest range of whole blocks around a range ("Block size constraints"). */
  #blocksAround(offset: number, length: number): ByteRange {
    const start = Math.floor(offset / this.#min) * this.#min;
    const end = Math.ceil((offset + length) / this.#min) * this.#min;
    // The last block of a disk may be cut off.
    const isCut = end > this.sizeBytes && offset + length <= this.sizeBytes;
    return { offset: start, length: (isCut ? this.sizeBytes : end) - start };
  }

  async #readBlocks(offset: number, target: Uint8Array): Promise<void> {
    await this.#pieces(offset, target.length, async (place, length) => {
      const part = target.subarray(place, place + length);
      await this.#request({ command: 'read', offset: offset + place, length, target: part });
    });
  }

  async #writeBlocks(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#pieces(offset, bytes.length, async (place, length) => {
      const payload = bytes.subarray(place, place + length);
      await this.#request({ command: 'write', offset: offset + place, length, payload });
    });
  }

  /** Writes whole blocks with what the first and the last of them hold besides the bytes. */
  async #writeParts(blocks: ByteRange, offset: number, bytes: Uint8Array): Promise<void> {
    const whole = Buffer.allocUnsafe(blocks.length);
    const last = Math.floor((blocks.length - 1) / this.#min) * this.#min;
    await this.#readBlocks(blocks.offset, whole.subarray(0, this.#min));
    await this.#readBlocks(blocks.offset + last, whole.subarray(last));
    whole.set(bytes, offset - blocks.offset);
    await this.#writeBlocks(blocks.offset, whole);
  }

  async #zeroBlocks(offset: number, length: number): Promise<void> {
    if ((this.negotiated.flags & EXPORT_FLAG.writeZeroes) === 0) {
      await this.#pieces(offset, length, async (place, size) => {
        const payload = ZEROES.subarray(0, size);
        await this.#request({ command: 'write', offset: offset + place, length: size, payload });
      });
      return;
    }
    for (let done = 0; done < length; done += ZEROES_SIZE_MAX) {
      const size = Math.min(ZEROES_SIZE_MAX, length - done);
      await this.#request({ command: 'writeZeroes', offset: offset + done, length: size });
    }
  }

  /**
   * Cuts a range into requests that begin at multiples of their size, so that blocks stay whole.
   * Returns, and fails, when none is under way any more: the caller's buffer is its own again.
   */
  async #pieces(
    offset: number,
    total: number,
    move: (place: number, length: number) => Promise<void>,
  ): Promise<void> {
    const step = Math.min(REQUEST_SIZE_BYTES, 2 ** Math.floor(Math.log2(this.#max)));
    const first = Math.min(total, step - (offset % step));
    if (first === total) {
      if (total > 0) await move(0, total);
      return;
    }
    const queue = new TaskQueue(REQUESTS_AT_ONCE);
    try {
      await queue.add(() => move(0, first));
      for (let place = first; place < total; place += step) {
        await queue.add(() => move(place, Math.min(step, total - place)));
      }
    } finally {
      await queue.drain();
    }
  }

  async #request(request: ClientRequest): Promise<void> {
    try {
      await this.#connections.request(request);
    } catch (error) {
      if (!isCofferError(error, 'nbd-failed') || error.details['error'] !== 'ENOSPC') throw error;
      throw new CofferError('target-full', error.details, error);
    }
  }
}
