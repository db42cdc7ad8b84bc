/**
 * Records of points as they are stored, so that they are not fetched again. Nothing here is trusted:
 * a record is read like one from the store, and its id is the digest of its bytes.
 */
import type { Database, RootDatabase } from 'lmdb';

/** A larger one is fetched each time: it is a rare one, with many findings. */
const RECORD_BYTES_KEPT_MAX = 64 * 1024;

export class PointRecords {
  readonly #root: RootDatabase;
  /** Name of the object to its bytes. */
  readonly #records: Database<Buffer, string>;

  constructor(root: RootDatabase) {
    this.#root = root;
    this.#records = root.openDB({ name: 'points', encoding: 'binary' });
  }

  get(name: string): Buffer | undefined {
    return this.#records.getBinary(name);
  }

  keep(records: ReadonlyMap<string, Buffer>): void {
    this.#root.transactionSync(() => {
      for (const [name, bytes] of records) {
        if (bytes.length <= RECORD_BYTES_KEPT_MAX) this.#records.putSync(name, bytes);
      }
    });
  }

  /** Forgets those under a prefix that are gone. */
  forgetOthers(prefix: string, present: ReadonlySet<string>): void {
    const range = this.#records.getKeys({ start: prefix, end: `${prefix}\uffff` });
    const gone = Array.from(range).filter((name) => !present.has(name));
    if (gone.length === 0) return;
    this.#root.transactionSync(() => {
      for (const name of gone) this.#records.removeSync(name);
    });
  }

  clear(): void {
    this.#records.clearSync();
  }
}
