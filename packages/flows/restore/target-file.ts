/**
 * A file while it is written. One that replaces another is written beside it and renamed; one that
 * cannot be written whole is not left under its name.
 */
import { closeSync, fstatSync, writeSync } from 'node:fs';
import { CofferError, type FileMetadata } from '@coffer/base';
import { punchHole } from '@coffer/base/libc.ts';
import type { OpenFolder } from './open-folder.ts';

const ZEROES_SIZE_BYTES_MAX = 4 * 1024 * 1024;

/** A file to be written. */
export interface FileJob<Node extends FileMetadata = FileMetadata> {
  readonly entry: Node;
  readonly folder: OpenFolder;
  readonly relative: Buffer;
  /** The name it gets, which is another one when both versions are kept. */
  readonly name: Buffer;
  /** Whether a file of that name is there, and is to be replaced or brought up to date. */
  readonly existing: 'none' | 'replace' | 'update';
}

export class NewFile {
  readonly fd: number;
  readonly #job: FileJob;
  readonly #temporary: Buffer;
  #isOpen = true;

  constructor(job: FileJob) {
    this.#job = job;
    this.#temporary = job.existing === 'replace' ? temporaryName(job.name) : job.name;
    this.fd = job.folder.target.createFile(this.#temporary);
  }

  /** Gives it its name. */
  finish(): void {
    this.#close();
    const { folder, name } = this.#job;
    if (this.#temporary !== name) folder.target.rename(this.#temporary, name);
  }

  discard(): void {
    this.#close();
    this.#job.folder.target.remove(this.#temporary);
  }

  #close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    closeSync(this.fd);
  }
}

/** Calls `write` with a new file, which is there afterwards unless `write` fails. */
export async function withNewFile(
  job: FileJob,
  write: (fd: number) => Promise<void>,
): Promise<void> {
  const file = new NewFile(job);
  try {
    await write(file.fd);
    file.finish();
  } catch (error) {
    file.discard();
    throw error;
  }
}

/** Calls `update` with a file that is there, and with its size. */
export async function withExistingFile(
  { folder, name }: FileJob,
  update: (fd: number, sizeBytes: number) => Promise<void>,
): Promise<void> {
  const fd = folder.target.openFile(name);
  if (fd === undefined) throw new CofferError('target-unwritable', { reason: 'not a file' });
  try {
    await update(fd, fstatSync(fd).size);
  } finally {
    closeSync(fd);
  }
}

export function writeAll(fd: number, bytes: Buffer, offset: number): void {
  for (let done = 0; done < bytes.length;) {
    done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
  }
}

/** Makes a range of a file that is there read as zeroes: a hole where the file system has them. */
export function writeHole(fd: number, offset: number, length: number): void {
  if (punchHole(fd, offset, length)) return;
  const zeroes = Buffer.alloc(Math.min(length, ZEROES_SIZE_BYTES_MAX));
  for (let done = 0; done < length; done += zeroes.length) {
    writeAll(fd, zeroes.subarray(0, Math.min(zeroes.length, length - done)), offset + done);
  }
}

function temporaryName(name: Buffer): Buffer {
  const suffix = Buffer.from('.coffer-new');
  return Buffer.concat([name.subarray(0, 255 - suffix.length), suffix]);
}
