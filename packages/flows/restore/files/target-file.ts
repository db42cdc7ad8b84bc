/**
 * A file while it is written. One that replaces another is written beside it and renamed; one that
 * cannot be written whole is not left under its name.
 */
import { closeSync, fstatSync, ftruncateSync, writeSync } from 'node:fs';
import { CofferError, type FileMetadata, systemErrorCode } from '@coffer/base';
import { punchHole } from '@coffer/base/libc.ts';
import { giveBack } from '@coffer/workloads/files/open-for-change.ts';
import type { TargetFolder } from '@coffer/workloads/files/target-folder.ts';
import { isNameRefused, substituteName } from '@coffer/workloads/files/target-name.ts';
import { temporaryName } from '@coffer/workloads/files/temporary-name.ts';
import type { RelativePath } from '../../relative-path.ts';
import type { OpenFolder } from './open-folder.ts';

const ZEROES_SIZE_BYTES_MAX = 4 * 1024 * 1024;

/** What was found for a file to be written. */
export interface LookedUp {
  readonly name: Buffer;
  readonly existing: 'none' | 'replace' | 'update';
}

/** A file to be written. */
export interface FileJob<Node extends FileMetadata = FileMetadata> {
  readonly entry: Node;
  readonly folder: OpenFolder;
  readonly relative: RelativePath;
  /** The name it gets, which is another one when both versions are kept. */
  readonly name: Buffer;
  /**
   * Whether a file of that name is there, and is to be replaced or brought up to date. `unseen` where
   * nobody has looked: in a folder that was made for what is restored, making the file tells.
   */
  readonly existing: 'none' | 'replace' | 'update' | 'unseen';
  /** Looks what is there by now; undefined when the file is not to be made, which was told. */
  readonly look: () => LookedUp | undefined;
  /** Told the name that it has instead, where the target cannot hold its own. */
  readonly onRenamed: (name: Buffer) => void;
}

/** It has another name until it is whole: what a killed run leaves is not taken for it. */
export class NewFile {
  readonly fd: number;
  readonly #job: FileJob;
  readonly #temporary: Buffer;
  #isOpen = true;

  constructor(job: FileJob) {
    this.#job = job;
    const { name, made } = underFreeName((free) => job.folder.target.createFile(free));
    this.#temporary = name;
    this.fd = made;
  }

  /** Gives it its name, or another one where the target cannot hold that, or has it taken. */
  finish(): void {
    this.#close();
    giveName(this.#job, this.#temporary);
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

/** Makes something under its name, or beside what it replaces, which goes when the new one is there. */
export function inPlace(job: FileJob, make: (name: Buffer) => void): void {
  if (job.existing === 'none') {
    underItsName(job, make);
    return;
  }
  const { target } = job.folder;
  const { name: temporary } = underFreeName(make);
  try {
    giveName(job, temporary);
    // Two names of one file are left as they are by a rename.
    if (target.typeOf(temporary) !== undefined) target.remove(temporary);
  } catch (error) {
    target.remove(temporary);
    throw error;
  }
}

/** Makes something under its name; where the target cannot hold that, under one that it can. */
export function underItsName<T>(
  { name, onRenamed }: Pick<FileJob, 'name' | 'onRenamed'>,
  make: (name: Buffer) => T,
): { name: Buffer; made: T } {
  try {
    return { name, made: make(name) };
  } catch (error) {
    if (!isNameRefused(error)) throw error;
    const substitute = substituteName(name);
    const made = make(substitute);
    onRenamed(substitute);
    return { name: substitute, made };
  }
}

/** The same for what was made under another name. */
function giveName(job: FileJob, temporary: Buffer): void {
  const { folder, name, existing } = job;
  underItsName(job, (given) => {
    if (given === name && existing === 'none') refuseTaken(folder.target, name);
    folder.target.rename(temporary, given);
  });
}

/** Something of the name was made since it was looked for, or the target takes another for it. */
function refuseTaken(folder: TargetFolder, name: Buffer): void {
  if (folder.typeOf(name) === undefined) return;
  throw Object.assign(new Error('the name is taken'), { code: 'EEXIST' });
}

const NAMES_TRIED_MAX = 1000;

/** What a run elsewhere has left keeps its own. */
function underFreeName<T>(make: (name: Buffer) => T): { name: Buffer; made: T } {
  for (let attempt = 1; ; attempt++) {
    const free = temporaryName();
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
  const opened = folder.target.openFile(name);
  if (!opened) throw new CofferError('target-unwritable', { reason: 'not a file' });
  try {
    await update(opened.fd, fstatSync(opened.fd).size);
  } catch (error) {
    giveBack(opened);
    throw error;
  } finally {
    closeSync(opened.fd);
  }
}

export function writeAll(fd: number, bytes: Buffer, offset: number): void {
  for (let done = 0; done < bytes.length;) {
    done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
  }
}

const LENGTHENING_REFUSED = ['EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS'];

/** Ends a file at its size: what was not written after the last data is a hole, or zeroes. */
export function endFileAt(fd: number, sizeBytes: number): void {
  try {
    ftruncateSync(fd, sizeBytes);
  } catch (error) {
    const { size } = fstatSync(fd);
    // Some targets make files longer only by writing to them.
    if (!LENGTHENING_REFUSED.includes(systemErrorCode(error) ?? '') || size > sizeBytes)
      throw error;
    writeHole(fd, size, sizeBytes - size);
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
