/** What is in a file: its extents, and zeroes where it has none. */
import { Recent } from '../recent.ts';
import { decompress } from './decompress.ts';
import { Fields, unsupported } from './fields.ts';
import { type Extent, parseExtent } from './item-codec.ts';
import { ITEM } from './key-codec.ts';
import type { Item } from './node-codec.ts';
import type { BlockPointer } from './superblock-codec.ts';
import type { BtrfsVolume } from './volume.ts';

/** Extents that are kept decompressed: of 128 KiB each, as the kernel makes them. */
const EXTENTS_KEPT = 32;

type Stored = Extract<Extent, { form: 'stored' }>;

export interface ContentRequest {
  readonly tree: BlockPointer;
  readonly objectId: bigint;
  readonly offset: number;
}

export class ContentReader {
  readonly #volume: BtrfsVolume;
  readonly #decompressed = new Recent<number, Buffer>(EXTENTS_KEPT);

  constructor(volume: BtrfsVolume) {
    this.#volume = volume;
  }

  /** Fills `target` with what is at an offset. Fails with `file-system-damaged`. */
  async read({ tree, objectId, offset }: ContentRequest, target: Uint8Array): Promise<void> {
    target.fill(0);
    if (target.length === 0) return;
    const first = { objectId, type: ITEM.extent, offset: BigInt(offset) };
    const last = { ...first, offset: BigInt(offset + target.length - 1) };
    // The extent that holds the first byte begins before it.
    for await (const item of this.#volume.itemsFromBelow(tree, first, last)) {
      if (item.key.objectId !== objectId || item.key.type !== ITEM.extent) continue;
      await this.#readExtent(item, offset, target);
    }
  }

  async #readExtent({ key, body }: Item, offset: number, target: Uint8Array): Promise<void> {
    const extent = parseExtent(body);
    if (!extent) throw unsupported('an extent is encoded in a way that is not known', body.offset);
    if (extent.form === 'hole') return;
    const bytes = extent.form === 'inline' ? await this.#inline(extent, body) : undefined;
    const start = Number(key.offset);
    const length = bytes?.length ?? (extent.form === 'stored' ? extent.length : 0);
    const from = Math.max(start, offset);
    const to = Math.min(start + length, offset + target.length);
    if (from >= to) return;
    const part = target.subarray(from - offset, to - offset);
    if (bytes) part.set(bytes.subarray(from - start, to - start));
    else if (extent.form === 'stored') await this.#stored(extent, from - start, part);
  }

  async #inline(extent: Extract<Extent, { form: 'inline' }>, item: Fields): Promise<Buffer> {
    if (!extent.compressed) return extent.bytes;
    const source = new Fields(extent.bytes, 'inline extent', item.offset);
    return await decompress(source, extent.compressed, this.#volume.superblock.sectorBytes);
  }

  async #stored(extent: Stored, within: number, target: Uint8Array): Promise<void> {
    const start = extent.offset + within;
    if (!extent.compressed) {
      await this.#volume.read(extent.address + start, target);
      return;
    }
    const bytes = await this.#decompressed.get(
      extent.address,
      async () => await this.#load(extent),
    );
    target.set(bytes.subarray(start, start + target.length));
  }

  async #load({ address, storedBytes, compressed }: Stored): Promise<Buffer> {
    const bytes = Buffer.alloc(storedBytes);
    await this.#volume.read(address, bytes);
    const source = new Fields(bytes, 'compressed extent', address);
    const { sectorBytes } = this.#volume.superblock;
    return compressed ? await decompress(source, compressed, sectorBytes) : bytes;
  }
}
