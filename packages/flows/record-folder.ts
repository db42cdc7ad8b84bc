/** Small records of this machine, one file each, that are whole after a crash: the old or the new one. */
import {
  closeSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { CofferError, systemErrorCode } from '@coffer/base';
import { tryToLock } from '@coffer/base/libc.ts';
import * as v from 'valibot';

const SUFFIX = '.json';

export class RecordFolder<T extends { readonly uuid: string }> {
  readonly path: string;
  readonly #schema: v.GenericSchema<unknown, T>;

  constructor(path: string, schema: v.GenericSchema<unknown, T>) {
    this.path = path;
    this.#schema = schema;
  }

  /** Fails with `record-damaged`. */
  read(uuid: string): T | undefined {
    const path = this.#pathOf(uuid);
    const text = ifThere(() => readFileSync(path, 'utf8'));
    if (text === undefined) return undefined;
    try {
      return v.parse(this.#schema, JSON.parse(text));
    } catch (error) {
      throw new CofferError('record-damaged', { path }, error);
    }
  }

  list(): T[] {
    const names = ifThere(() => readdirSync(this.path)) ?? [];
    return names
      .filter((name) => name.endsWith(SUFFIX))
      .flatMap((name) => this.read(name.slice(0, -SUFFIX.length)) ?? []);
  }

  write(record: T): void {
    const path = this.#pathOf(record.uuid);
    mkdirSync(this.path, { recursive: true, mode: 0o700 });
    const partial = `${path}.partial`;
    writeFileSync(partial, JSON.stringify(record, null, 2), { mode: 0o600, flush: true });
    renameSync(partial, path);
    syncFolder(this.path);
  }

  remove(uuid: string): void {
    rmSync(this.#pathOf(uuid), { force: true });
  }

  /**
   * What a record tells of is changed by one run at a time, until this is disposed. Fails with
   * `vm-busy`.
   */
  lock(uuid: string): Disposable {
    mkdirSync(this.path, { recursive: true, mode: 0o700 });
    const path = join(this.path, `${uuid}.lock`);
    for (;;) {
      const fd = openSync(path, 'a', 0o600);
      if (!tryToLock(fd)) {
        closeSync(fd);
        throw new CofferError('vm-busy', { uuid, reason: 'another command changes it' });
      }
      // Whoever had it may have removed it since it was opened here.
      if (statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) {
        return {
          [Symbol.dispose]: () => {
            rmSync(path, { force: true });
            closeSync(fd);
          },
        };
      }
      closeSync(fd);
    }
  }

  #pathOf(uuid: string): string {
    return join(this.path, uuid + SUFFIX);
  }
}

function ifThere<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** After this, what was renamed in the folder is so also when the host dies. */
export function syncFolder(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
