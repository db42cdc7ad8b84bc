/** A folder and a disk image that are small, so that thousands of restores of them take little time. */
import type { PointKind } from '@coffer/repository';
import { openRawDisk } from '@coffer/disk/raw.ts';
import type { BackupSource, FilesSource } from '@coffer/flows/backup/backup.ts';
import { createHash } from 'node:crypto';
import { mkdirSync, openSync, closeSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Random } from '@coffer/base';
import { snapshot } from '../end-to-end/testing/snapshot.ts';

const DISK_SIZE_BYTES = 1024 * 1024 + 4096;
const FILE_COUNT = 8;

export type SourceKind = 'files' | 'disk';

export class SmallSource {
  readonly #folder: string;
  readonly #image: string;
  readonly #random: Random;

  constructor(parent: string, random: Random) {
    this.#folder = join(parent, 'source');
    this.#image = join(parent, 'disk.raw');
    this.#random = random;
    mkdirSync(join(this.#folder, 'below'), { recursive: true });
    for (let index = 0; index < FILE_COUNT; index++) this.#writeFile(index);
    const image = Buffer.concat([
      random.bytes(300_000),
      Buffer.alloc(300_000),
      Buffer.alloc(DISK_SIZE_BYTES - 600_000, 'again and '),
    ]);
    writeFileSync(this.#image, image);
  }

  path(kind: PointKind): string {
    return kind === 'files' ? this.#folder : this.#image;
  }

  /** Whoever opens a disk closes it. */
  async open(kind: SourceKind, parent: FilesSource['parent']): Promise<BackupSource> {
    const path = this.path(kind);
    if (kind === 'disk') return { kind, path, disk: await openRawDisk(path) };
    return { kind, path, parent, exclude: [], oneFileSystem: false };
  }

  change(kind: SourceKind): void {
    if (kind === 'files') {
      this.#writeFile(1);
      this.#writeFile(6);
      return;
    }
    const fd = openSync(this.#image, 'r+');
    writeSync(fd, this.#random.bytes(5000), 0, 5000, 280_000);
    closeSync(fd);
  }

  #writeFile(index: number): void {
    const size = index % 2 === 0 ? 1000 : 120_000;
    writeFileSync(join(this.#folder, 'below', String(index)), this.#random.bytes(size));
  }
}

export function stateOf(path: string, kind: PointKind): string {
  const bytes = kind === 'files' ? JSON.stringify(snapshot(path)) : readFileSync(path);
  return createHash('sha256').update(bytes).digest('hex');
}
