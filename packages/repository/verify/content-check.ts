/**
 * Opens every chunk of a pack, with keys: that the bytes of a pack are those that its name promises
 * says nothing of what its chunks hold. Whoever can add objects can make a pack whose chunks hold
 * something else than their ids say.
 */
import { CofferError } from '@coffer/base';
import { ChunkHasher } from '../chunk/chunk-id.ts';
import type { ChunkWork } from '../chunk/chunk-work.ts';
import { PackKeys } from '../chunk/engine.ts';
import { openChunk } from '../chunk/seal.ts';
import { SLAB_SIZE_BYTES, type Slab, SlabPool } from '../chunk/slab.ts';
import type { PackEntry, PackFooter } from '../pack/pack-codec.ts';
import type { UnlockedRepository } from '../repository.ts';
import { splitNodeRecord } from '../tree/node-codec.ts';

/** Slabs for what is opened, and for where it goes; pairs are taken, so that nobody waits for one. */
const PAIRS = 4;

export class ContentCheck {
  readonly #work: ChunkWork;
  readonly #hasher: ChunkHasher;
  readonly #packKeys: PackKeys;
  readonly #sources = new SlabPool(PAIRS);
  readonly #targets = new SlabPool(PAIRS);

  constructor({ allKeys: keys, work }: UnlockedRepository) {
    this.#work = work;
    this.#hasher = new ChunkHasher(keys.hashKey);
    this.#packKeys = new PackKeys(keys.privateKey);
  }

  /** The entries of a pack whose chunks do not open to what their ids say. */
  async brokenEntries({ keyBoxes, entries }: PackFooter, bytes: Buffer): Promise<PackEntry[]> {
    const nodes = entries.filter(({ kind }) => kind === 'node');
    const broken = nodes.filter((entry) => !this.isIntact(keyBoxes, entry, bytes));
    for (const batch of batchesOf(entries.filter(({ kind }) => kind === 'data'))) {
      broken.push(...(await this.#brokenOf(batch, keyBoxes, bytes)));
    }
    return broken;
  }

  /** True when the chunk opens to what its id says. */
  isIntact(keyBoxes: readonly Buffer[], entry: PackEntry, bytes: Buffer): boolean {
    const record = bytes.subarray(entry.offset, entry.offset + entry.length);
    try {
      const key = this.#packKeys.open(keyBoxes[entry.keyIndex]!);
      if (entry.kind === 'data') {
        return this.#hasher.data(openChunk(key, entry, record)).equals(entry.id);
      }
      const { head, sealedBody } = splitNodeRecord(entry.id, record);
      const body = openChunk(key, entry, sealedBody);
      return this.#hasher.node(head, body).equals(entry.id);
    } catch (error) {
      if (error instanceof CofferError) return false;
      throw error;
    }
  }

  async #brokenOf(
    entries: readonly PackEntry[],
    keyBoxes: readonly Buffer[],
    bytes: Buffer,
  ): Promise<PackEntry[]> {
    return await this.#sources.use(async (source) =>
      this.#targets.use(async (target) => {
        const items = itemsOf(entries, keyBoxes, bytes, source);
        const { failures } = await this.#work.open({ source, target, items });
        return failures.map(({ itemIndex }) => entries[itemIndex]!);
      }),
    );
  }
}

/** Copies the records to the slab, one after the other. */
function itemsOf(
  entries: readonly PackEntry[],
  keyBoxes: readonly Buffer[],
  bytes: Buffer,
  source: Slab,
): Parameters<ChunkWork['open']>[0]['items'] {
  let [offset, targetOffset] = [0, 0];
  return entries.map((entry) => {
    bytes.copy(source.bytes, offset, entry.offset, entry.offset + entry.length);
    const record = { offset, length: entry.length };
    const item = { ...entry, record, keyBox: keyBoxes[entry.keyIndex]!, targetOffset };
    offset += entry.length;
    targetOffset += entry.plainLength;
    return item;
  });
}

/** As many entries at once as fit a slab, sealed and opened. */
function* batchesOf(entries: readonly PackEntry[]): Generator<PackEntry[]> {
  let batch: PackEntry[] = [];
  let [sealed, plain] = [0, 0];
  for (const entry of entries) {
    sealed += entry.length;
    plain += entry.plainLength;
    if (Math.max(sealed, plain) > SLAB_SIZE_BYTES) {
      yield batch;
      batch = [];
      [sealed, plain] = [entry.length, entry.plainLength];
    }
    batch.push(entry);
  }
  if (batch.length > 0) yield batch;
}
