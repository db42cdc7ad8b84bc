/**
 * The newest sweep record that was read, as it is stored: it names all points and index objects that
 * survived, so it is large, and every listing needs it. Nothing here is trusted: a record is read like
 * one from the store, whose digest is at its end; and it is taken only for one that begins in the same
 * way, with the random id of its collection.
 */
import type { Database, RootDatabase } from 'lmdb';

export class SweepRecords {
  readonly #root: RootDatabase;
  /** Name of the object to its bytes. */
  readonly #records: Database<Buffer, string>;

  constructor(root: RootDatabase) {
    this.#root = root;
    this.#records = root.openDB({ name: 'sweeps', encoding: 'binary' });
  }

  get(name: string): Buffer | undefined {
    return this.#records.getBinary(name);
  }

  /** Forgets all others. */
  keep(name: string, bytes: Buffer): void {
    this.#root.transactionSync(() => {
      this.#records.clearSync();
      this.#records.putSync(name, bytes);
    });
  }

  clear(): void {
    this.#records.clearSync();
  }
}
