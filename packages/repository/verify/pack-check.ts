/** What is wrong with the packs of a store, each compared with its name, and its chunks with theirs. */
import { isCofferError } from '@coffer/base';
import type { ChunkId } from '../chunk/chunk-id.ts';
import type { ChunkIndex, IndexedPack } from '../index/chunk-index.ts';
import {
  decodePack,
  isPackIntact,
  type PackEntry,
  type PackFooter,
  packObjectName,
} from '../pack/pack-codec.ts';
import { type Repository, UnlockedRepository } from '../repository.ts';
import { getIfThere } from '../store-calls.ts';
import { ContentCheck } from './content-check.ts';

/** Packs checked at once; each is up to 24 MiB of memory. */
export const PACKS_AT_ONCE = 3;

/** One pack, with all that index objects say of it. */
export interface NamedPack {
  readonly pack: Buffer;
  readonly descriptions: readonly IndexedPack[];
}

export interface PackCheckResult {
  readonly bytesRead: number;
  /** What is wrong with the pack as a whole; undefined when it is what its name promises. */
  readonly reason: string | undefined;
  /** False when it is gone. */
  readonly isThere: boolean;
  /** Chunks that are not, or that without a key may not be, what their ids say. */
  readonly broken: readonly ChunkId[];
  /** Chunks that can be saved out of a pack that has broken ones. Without a key none is known. */
  readonly salvage: readonly PackEntry[];
  readonly keyBoxes: readonly Buffer[];
  /** Empty when the pack is gone. */
  readonly bytes: Buffer;
}

export function namedPacks(index: ChunkIndex): NamedPack[] {
  const packs = new Map<string, { pack: Buffer; descriptions: IndexedPack[] }>();
  for (const description of index.packs()) {
    const name = description.pack.toString('hex');
    const known = packs.get(name);
    if (known) known.descriptions.push(description);
    else packs.set(name, { pack: description.pack, descriptions: [description] });
  }
  return [...packs.values()];
}

export class PackCheck {
  readonly #repository: Repository;
  readonly #content: ContentCheck | undefined;

  constructor(repository: Repository) {
    this.#repository = repository;
    this.#content =
      repository instanceof UnlockedRepository ? new ContentCheck(repository) : undefined;
  }

  /** Reads the pack whole. */
  async check(named: NamedPack): Promise<PackCheckResult> {
    const read = await this.#read(named);
    if (read === undefined) return this.#damaged(named, 'missing', undefined);
    const { bytes, isLarger } = read;
    if (isLarger) return this.#damaged(named, 'another size', bytes);
    if (!isPackIntact(bytes, named.pack)) {
      return this.#damaged(named, 'its digest does not match', bytes);
    }
    const footer = footerOf(bytes, packObjectName(named.pack));
    if (typeof footer === 'string') return this.#damaged(named, footer, bytes);
    const entries = this.#content ? await this.#content.brokenEntries(footer, bytes) : [];
    const broken = new Set(entries);
    return {
      bytesRead: bytes.length,
      reason: undefined,
      isThere: true,
      broken: entries.map(({ id }) => id),
      salvage: footer.entries.filter((entry) => !broken.has(entry)),
      keyBoxes: footer.keyBoxes,
      bytes,
    };
  }

  /** A pack that was not read, since it is gone or has another size. */
  missing(named: NamedPack, reason: string): PackCheckResult {
    return this.#damaged(named, reason, undefined);
  }

  /** Its own footer may be damaged: what its chunks are is asked of the index. */
  #damaged(named: NamedPack, reason: string, bytes: Buffer | undefined): PackCheckResult {
    const described = named.descriptions.map((description) => ({
      keyBoxes: description.keyBoxes,
      entries: [...this.#repository.index.entriesOf(description)],
    }));
    const found = described.map(({ keyBoxes, entries }) => {
      const isIntact = (entry: PackEntry): boolean =>
        bytes !== undefined && (this.#content?.isIntact(keyBoxes, entry, bytes) ?? false);
      return { keyBoxes, entries, salvage: entries.filter(isIntact) };
    });
    // Of several descriptions, the one by which most can be opened.
    const best = found.reduce((a, b) => (b.salvage.length > a.salvage.length ? b : a));
    const saved = new Set(best.salvage.map(({ id }) => id.toString('hex')));
    const all = described.flatMap(({ entries }) => entries.map(({ id }) => id));
    return {
      bytesRead: bytes?.length ?? 0,
      reason,
      isThere: bytes !== undefined,
      broken: all.filter((id) => !saved.has(id.toString('hex'))),
      salvage: best.salvage,
      keyBoxes: best.keyBoxes,
      bytes: bytes ?? Buffer.alloc(0),
    };
  }

  /** Of what is larger than any index object says, so much is read as the largest one says. */
  async #read({
    pack,
    descriptions,
  }: NamedPack): Promise<{ bytes: Buffer; isLarger: boolean } | undefined> {
    const { store } = this.#repository;
    const name = packObjectName(pack);
    const sizeBytesMax = Math.max(...descriptions.map(({ sizeBytes }) => sizeBytes));
    try {
      const bytes = await getIfThere(store, name, sizeBytesMax);
      return bytes && { bytes, isLarger: false };
    } catch (error) {
      if (!isCofferError(error, 'object-damaged')) throw error;
      const bytes = await store.getRange(name, { offset: 0, length: sizeBytesMax });
      return { bytes, isLarger: true };
    }
  }
}

/** The footer, or what is wrong with it. */
function footerOf(bytes: Buffer, name: string): PackFooter | string {
  try {
    return decodePack(bytes, name);
  } catch (error) {
    if (!isCofferError(error, 'object-damaged')) throw error;
    return String(error.details['reason']);
  }
}
