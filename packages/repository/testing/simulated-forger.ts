/**
 * Who can only add objects to a repository of the simulation, and holds no key but the public one. He
 * reads in clear what lies there, and forges well-formed packs, index objects and records. Records of
 * collections are out of his reach: whoever keeps others from deleting keeps them from these, too.
 */
import { isCofferError, type Random } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { type ChunkId, kindOf } from '../chunk/chunk-id.ts';
import { decodeIndexObject, encodeIndexObject, indexGenerationOf } from '../index/index-codec.ts';
import type { WriterKeys } from '../keys.ts';
import { PackBuilder } from '../pack/pack-builder.ts';
import { type PackDescription, type PackEntry, packObjectName } from '../pack/pack-codec.ts';
import { type EncodedPoint, encodePoint, pointObjectName } from '../recovery-point.ts';
import {
  beginName,
  encodeBegin,
  encodeEnd,
  endName,
  listSessions,
} from '../session/session-record.ts';
import { encodeNodeClear, encodeNodeHead } from '../tree/node-codec.ts';
import { getWhole, namesOf } from './test-repository.ts';

const EMPTY = Buffer.alloc(0);

export class SimulatedForger {
  /** Ids under which he put what they do not say, or said that they lie where they do not. */
  readonly forged = new Set<string>();
  readonly #store: ObjectStore;
  readonly #random: Random;
  readonly #publicKey: Buffer;

  constructor(store: ObjectStore, random: Random, publicKey: Buffer) {
    this.#store = store;
    this.#random = random;
    this.#publicKey = publicKey;
  }

  /** Adds one forged object, or a few that belong together. */
  async forge(): Promise<void> {
    const packs = await this.#packs();
    const dice = this.#random.fraction();
    if (packs.length > 0 && dice < 0.35) await this.#forgePack(packs);
    else if (packs.length > 0 && dice < 0.65) await this.#forgeIndex(packs);
    else if (dice < 0.75) await this.#putPoint(await this.#forgePoint(packs));
    else if (dice < 0.95) await this.#forgeEnd(packs);
    else await this.#forgeBegin();
  }

  async #forgePack(packs: readonly PackDescription[]): Promise<void> {
    const builder = new PackBuilder({ publicKey: this.#publicKey, random: this.#random });
    const known = packs.flatMap(({ entries }) => entries);
    for (let left = 1 + this.#below(4); left > 0; left--) {
      const { id } = this.#one(known);
      if (builder.has(id)) continue;
      this.forged.add(id.toString('hex'));
      if (kindOf(id) === 'data') builder.add(id, 'data', this.#random.bytes(50));
      else builder.add(id, 'node', EMPTY, this.#clearOfNode(known));
    }
    const { bytes, ...description } = builder.finish();
    await this.#put(packObjectName(description.pack), bytes);
    await this.#putIndex([description]);
  }

  #clearOfNode(known: readonly PackEntry[]): Buffer {
    return encodeNodeClear(encodeNodeHead(this.#children(known)), this.#random.bytes(32));
  }

  #children(known: readonly PackEntry[]): Buffer[] {
    const dice = this.#below(3);
    if (dice === 0) return [];
    if (dice === 1) return [this.#random.bytes(32)];
    return Array.from({ length: 3 }, () => this.#one(known).id);
  }

  /** Describes packs that are there as they are not, or as often as he likes. */
  async #forgeIndex(packs: readonly PackDescription[]): Promise<void> {
    const pack = this.#one(packs);
    const known = packs.flatMap(({ entries }) => entries);
    const lies: readonly (() => PackDescription[])[] = [
      () => [pack, pack, pack],
      () => [{ ...pack, entries: pack.entries.slice(1) }],
      () => [{ ...pack, entries: [] }],
      () => [{ ...pack, sizeBytes: pack.sizeBytes + 1 }],
      () => [{ ...pack, sizeBytes: pack.sizeBytes - 1 }],
      () => [{ ...pack, entries: pack.entries.map((entry) => this.#lieOf(entry)) }],
      () => [{ ...pack, entries: [underId(pack.entries[0]!, this.#one(known).id)] }],
      () => [{ ...pack, pack: this.#random.bytes(32) }],
    ];
    const described = this.#one(lies)().filter(({ entries }) => entries.every(isPossible));
    for (const { entries } of described) {
      for (const { id } of entries) this.forged.add(id.toString('hex'));
    }
    await this.#putIndex(described);
  }

  #lieOf(entry: PackEntry): PackEntry {
    const lies: readonly PackEntry[] = [
      { ...entry, offset: entry.offset - 1 },
      { ...entry, length: entry.length - 1 },
      { ...entry, compressed: !entry.padded && !entry.compressed },
      { ...entry, ordinal: entry.ordinal + 1 },
    ];
    return this.#one(lies);
  }

  /** A point that looks like others, of a root that he knows or made up, with a MAC that is wrong. */
  async #forgePoint(packs: readonly PackDescription[]): Promise<EncodedPoint> {
    const known = packs.flatMap(({ entries }) => entries);
    const isKnown = known.length > 0 && this.#random.fraction() < 0.5;
    const root = isKnown ? this.#one(known).id : this.#random.bytes(32);
    const keys: WriterKeys = { publicKey: this.#publicKey, hashKey: this.#random.bytes(32) };
    const roots = [{ name: 'disk', root: root.toString('hex'), sizeBytes: 256 * 1024 }];
    const header = { item: 'item-0', kind: 'disk', takenAt: 1, roots, tags: {} } as const;
    return encodePoint(header, {}, { ...keys, random: this.#random });
  }

  async #putPoint({ id, item, bytes }: EncodedPoint): Promise<void> {
    await this.#put(pointObjectName(item, await this.#generation(), id), bytes);
  }

  /** Ends the session of somebody else, or one that nobody began. */
  async #forgeEnd(packs: readonly PackDescription[]): Promise<void> {
    const open = (await listSessions(this.#store)).filter(({ hasEnd }) => !hasEnd);
    const own = this.#random.bytes(16).toString('hex');
    const session = open.length > 0 ? this.#one(open).session : own;
    const fenced = { session, outcome: 'fenced', by: 'a forger' } as const;
    if (this.#random.fraction() < 0.4) {
      await this.#put(endName(session), encodeEnd(fenced));
      return;
    }
    const { id, item, bytes } = await this.#forgePoint(packs);
    const points = [{ id, item, record: bytes.toString('base64') }];
    const generation = await this.#generation();
    const chosen = this.#random.fraction() < 0.5 ? points : [];
    const end = { session, outcome: 'committed', generation, points: chosen } as const;
    await this.#put(endName(session), encodeEnd(end));
  }

  async #forgeBegin(): Promise<void> {
    const session = this.#random.bytes(16).toString('hex');
    await this.#put(beginName(session), encodeBegin({ session, startedAt: 1, host: 'forger' }));
  }

  async #packs(): Promise<PackDescription[]> {
    const packs: PackDescription[] = [];
    for (const name of await namesOf(this.#store, 'index/')) {
      try {
        packs.push(...decodeIndexObject({ name, bytes: await getWhole(this.#store, name) }));
      } catch (error) {
        // Deleted meanwhile.
        if (!isCofferError(error, 'object-not-found')) throw error;
      }
    }
    return packs.filter(({ entries }) => entries.length > 0);
  }

  async #putIndex(packs: readonly PackDescription[]): Promise<void> {
    const { name, bytes } = encodeIndexObject(packs, await this.#generation());
    await this.#put(name, bytes);
  }

  /** One that is there, or the next. */
  async #generation(): Promise<number> {
    const names = await namesOf(this.#store, 'index/');
    return Math.max(0, ...names.map((name) => indexGenerationOf(name) ?? 0)) + this.#below(2);
  }

  async #put(name: string, bytes: Buffer): Promise<void> {
    try {
      await this.#store.put(name, bytes);
    } catch (error) {
      if (!isCofferError(error, 'object-exists')) throw error;
    }
  }

  #below(count: number): number {
    return Math.floor(this.#random.fraction() * count);
  }

  #one<T>(all: readonly T[]): T {
    return all[this.#below(all.length)]!;
  }
}

function underId(entry: PackEntry, id: ChunkId): PackEntry {
  return { ...entry, id, kind: kindOf(id) };
}

/** What nobody could read would not be well-formed. */
function isPossible({ offset, length }: PackEntry): boolean {
  return offset >= 0 && length >= 0;
}
