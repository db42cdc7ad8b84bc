/**
 * Drops entries of the local index whose packs are gone: one walk around all entries after packs
 * were removed, in steps, from where the last one stopped. A pack's number is never used again, so
 * an entry whose pack is not known stays stale for good.
 */
import type { Database, RootDatabase } from 'lmdb';
import { copiesOf } from './copy-key.ts';
import { readLocation } from './location.ts';

/** Neighbours share their pages, so a step changes a few MiB. */
const STEP_ENTRIES = 16_384;
/** Under which the walk is stored. */
const WALK = 'stale';

interface Walk {
  /** The id to go on from, in hexadecimal; empty for the first one. */
  readonly from: string;
  /** Entries to look at until the walk is back where packs were last removed. */
  readonly left: number;
}

export class StaleEntries {
  readonly #root: RootDatabase;
  readonly #chunks: Database<Buffer, Buffer>;
  readonly #copies: Database<Buffer, Buffer>;
  readonly #packs: Database<unknown, number>;
  readonly #walks: Database<Walk, string>;

  constructor(
    root: RootDatabase,
    chunks: Database<Buffer, Buffer>,
    copies: Database<Buffer, Buffer>,
    packs: Database<unknown, number>,
  ) {
    this.#root = root;
    this.#chunks = chunks;
    this.#copies = copies;
    this.#packs = packs;
    this.#walks = root.openDB({ name: 'walks', encoding: 'json' });
  }

  get isAny(): boolean {
    return this.#walks.doesExist(WALK);
  }

  /** Says, in the transaction that removes packs, that entries are stale from now on. */
  expect(): void {
    const { entryCount } = this.#chunks.getStats() as { entryCount: number };
    this.#walks.putSync(WALK, { from: this.#walks.get(WALK)?.from ?? '', left: entryCount });
  }

  clear(): void {
    this.#walks.clearSync();
  }

  /** One step of the walk. */
  dropSome(): void {
    this.#root.transactionSync(() => {
      // Another process with the same cache may have made the last step.
      const walk = this.#walks.get(WALK);
      if (!walk) return;
      const ids = this.#idsFrom(walk.from);
      const isKnown = this.#packsKnown();
      for (const id of ids) this.#tidy(id, isKnown);
      const left = walk.left - ids.length;
      const isEmpty = ids.length === 0 && walk.from === '';
      if (left <= 0 || isEmpty) this.#walks.removeSync(WALK);
      else this.#walks.putSync(WALK, { from: followerOf(ids), left });
    });
  }

  #idsFrom(from: string): Buffer[] {
    const start = from === '' ? {} : { start: Buffer.from(from, 'hex') };
    const keys = this.#chunks.getKeys({ ...start, limit: STEP_ENTRIES });
    return Array.from(keys, (key) => Buffer.from(key));
  }

  #packsKnown(): (packNumber: number) => boolean {
    const known = new Map<number, boolean>();
    return (packNumber) => {
      const isKnown = known.get(packNumber) ?? this.#packs.doesExist(packNumber);
      known.set(packNumber, isKnown);
      return isKnown;
    };
  }

  /** Keeps the places of a chunk that are there; the first of them becomes its main one. */
  #tidy(id: Buffer, isKnown: (packNumber: number) => boolean): void {
    const copies = [...this.#copies.getRange(copiesOf(id))];
    const kept = copies.filter(({ value }) => isKnown(readLocation(value, 0).packNumber));
    const main = this.#chunks.getBinary(id);
    if (!main || !isKnown(readLocation(main, 0).packNumber)) {
      const next = kept.shift();
      if (next) this.#chunks.putSync(id, Buffer.from(next.value));
      else this.#chunks.removeSync(id);
    }
    const keptKeys = new Set(kept.map(({ key }) => key.toString('hex')));
    for (const { key } of copies) {
      if (!keptKeys.has(key.toString('hex'))) this.#copies.removeSync(Buffer.from(key));
    }
  }
}

/** Where the next step begins: right behind the last id, or, behind all, at the first one again. */
function followerOf(ids: readonly Buffer[]): string {
  const last = ids.length < STEP_ENTRIES ? undefined : ids.at(-1);
  return last ? `${last.toString('hex')}00` : '';
}
