/** What is protected while processes are killed: a folder and a disk image that change all the time. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Random } from '@coffer/base';
import { snapshot } from '../end-to-end/testing/snapshot.ts';

const SMALL_FILES = 120;
const LARGE_FILES = 6;
const LARGE_SIZE_BYTES_MAX = 4 * 1024 * 1024;
const DISK_SIZE_BYTES = 24 * 1024 * 1024;
const BLOCK_SIZE_BYTES = 4096;

export type SourceKind = 'files' | 'disk';

export class RandomSource {
  readonly folder: string;
  readonly image: string;
  readonly #random: Random;

  constructor(parent: string, random: Random) {
    this.folder = join(parent, 'source');
    this.image = join(parent, 'disk.raw');
    this.#random = random;
    mkdirSync(join(this.folder, 'small'), { recursive: true });
    for (let index = 0; index < SMALL_FILES; index++) this.#writeSmall(index);
    for (let index = 0; index < LARGE_FILES; index++) this.#writeLarge(index);
    const fd = openSync(this.image, 'w');
    ftruncateSync(fd, DISK_SIZE_BYTES);
    closeSync(fd);
    this.change('disk');
  }

  path(kind: SourceKind): string {
    return kind === 'files' ? this.folder : this.image;
  }

  /** Makes the next backup differ from the last one. */
  change(kind: SourceKind): void {
    if (kind === 'disk') this.#changeDisk();
    else this.#changeFiles();
  }

  /** What a restore of it has to be equal to. */
  stateOf(kind: SourceKind): string {
    return stateOf(this.path(kind), kind);
  }

  #changeFiles(): void {
    for (let count = 0; count < 20; count++) this.#writeSmall(this.#below(SMALL_FILES));
    for (let count = 0; count < 2; count++) this.#writeLarge(this.#below(LARGE_FILES));
    rmSync(join(this.folder, 'small', `${this.#below(SMALL_FILES)}.txt`), { force: true });
  }

  #changeDisk(): void {
    const fd = openSync(this.image, 'r+');
    const blocks = DISK_SIZE_BYTES / BLOCK_SIZE_BYTES;
    for (let count = 0; count < 20; count++) {
      writeSync(fd, this.#content(BLOCK_SIZE_BYTES), 0, undefined, this.#blockOf(blocks));
    }
    const run = this.#content(2 * 1024 * 1024);
    writeSync(fd, run, 0, undefined, this.#blockOf(blocks - run.length / BLOCK_SIZE_BYTES));
    closeSync(fd);
  }

  #blockOf(blocks: number): number {
    return this.#below(blocks) * BLOCK_SIZE_BYTES;
  }

  #writeSmall(index: number): void {
    const name = join(this.folder, 'small', `${index}.txt`);
    writeFileSync(name, this.#content(this.#below(8192)));
  }

  #writeLarge(index: number): void {
    const name = join(this.folder, `large-${index}`);
    writeFileSync(name, this.#content(this.#below(LARGE_SIZE_BYTES_MAX)));
  }

  /** Half of it compresses. */
  #content(size: number): Buffer {
    if (this.#random.fraction() < 0.5) return this.#random.bytes(size);
    const word = `${this.#below(1_000_000)} is a number that is said again and again. `;
    return Buffer.alloc(size, word);
  }

  #below(limit: number): number {
    return Math.floor(this.#random.fraction() * limit);
  }
}

export function stateOf(path: string, kind: SourceKind): string {
  const hash = createHash('sha256');
  hash.update(kind === 'files' ? JSON.stringify(snapshot(path)) : readFileSync(path));
  return hash.digest('hex');
}
