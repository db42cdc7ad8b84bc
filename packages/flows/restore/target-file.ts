/**
 * A file while it is written. One that replaces another is written beside it and renamed; one that
 * cannot be written whole is not left under its name.
 */
import { closeSync, fstatSync, writeSync } from 'node:fs';
import { CofferError, type FileMetadata, systemErrorCode } from '@coffer/base';
import { punchHole } from '@coffer/base/libc.ts';
import type { TargetFolder } from '@coffer/workloads/files/target-folder.ts';
import type { OpenFolder } from './open-folder.ts';

const ZEROES_SIZE_BYTES_MAX = 4 * 1024 * 1024;
const NAME_BYTES_MAX = 255;

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

/** `whole` says that it is written in one go; else it has another name until it is whole. */
export class NewFile {
  readonly fd: number;
  readonly #job: FileJob;
  readonly #temporary: Buffer;
  #isOpen = true;

  constructor(job: FileJob, { whole }: { readonly whole: boolean }) {
    this.#job = job;
    const { existing, name, folder } = job;
    const isDirect = whole && existing === 'none';
    const create = (newName: Buffer): number => folder.target.createFile(newName);
    const made = isDirect ? { name, made: create(name) } : underFreeName(name, create);
    this.#temporary = made.name;
    this.fd = made.made;
  }

  /** Gives it its name. Fails with `EEXIST` when somebody else has taken that meanwhile. */
  finish(): void {
    this.#close();
    const { folder, name, existing } = this.#job;
    if (this.#temporary === name) return;
    if (existing === 'none') refuseTaken(folder.target, name);
    folder.target.rename(this.#temporary, name);
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

function refuseTaken(folder: TargetFolder, name: Buffer): void {
  if (folder.typeOf(name) === undefined) return;
  throw Object.assign(new Error('something of this name was made meanwhile'), { code: 'EEXIST' });
}

/** Makes something under its name, or beside what it replaces, which goes when the new one is there. */
export function inPlace(
  folder: TargetFolder,
  { name, existing }: Pick<FileJob, 'name' | 'existing'>,
  make: (name: Buffer) => void,
): void {
  if (existing === 'none') {
    make(name);
    return;
  }
  const { name: temporary } = underFreeName(name, make);
  try {
    folder.rename(temporary, name);
    // Two names of one file are left as they are by a rename.
    if (folder.typeOf(temporary) !== undefined) folder.remove(temporary);
  } catch (error) {
    folder.remove(temporary);
    throw error;
  }
}

const NAMES_TRIED_MAX = 1000;
let namesTaken = 0;

/** Names of this process, that nothing else has: what a killed run has left keeps its own. */
function underFreeName<T>(name: Buffer, make: (name: Buffer) => T): { name: Buffer; made: T } {
  for (let attempt = 1; ; attempt++) {
    const suffix = Buffer.from(`.coffer-${process.pid}-${namesTaken++}`);
    const free = Buffer.concat([name.subarray(0, NAME_BYTES_MAX - suffix.length), suffix]);
    try {
      return { name: free, made: make(free) };
    } catch (error) {
      if (systemErrorCode(error) !== 'EEXIST' || attempt === NAMES_TRIED_MAX) throw error;
    }
  }
}

/** Calls `write` with a new file, which is there afterwards unless `write` fails. */
export async function withNewFile(
  job: FileJob,
  write: (fd: number) => Promise<void>,
): Promise<void> {
  const file = new NewFile(job, { whole: false });
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
