/** All that a file system says of a folder, for comparing what was restored with what was protected. */
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { getAttribute, listAttributes } from '@coffer/base/libc.ts';

const SLASH = Buffer.from('/');

export interface SnapshotOptions {
  /** Whether times of modification count; they do. */
  readonly times?: boolean;
}

/** By path (each byte a letter); names of one file share a number. */
export function snapshot(
  folder: string,
  { times = true }: SnapshotOptions = {},
): Record<string, string> {
  const inodes = new Map<bigint, number>();
  const entries: Record<string, string> = {};
  const visit = (path: Buffer, relative: string): void => {
    entries[relative] = describe(path, inodes, times);
    if (!lstatSync(path).isDirectory()) return;
    for (const name of readdirSync(path, { encoding: 'buffer' })) {
      visit(Buffer.concat([path, SLASH, name]), `${relative}/${name.toString('latin1')}`);
    }
  };
  visit(Buffer.from(folder), '');
  return entries;
}

function describe(path: Buffer, inodes: Map<bigint, number>, times: boolean): string {
  const stats = lstatSync(path, { bigint: true });
  const facts = [`mode ${stats.mode.toString(8)}`, `owner ${stats.uid}:${stats.gid}`];
  if (times) facts.push(`time ${stats.mtimeNs}`);
  if (stats.isFile()) facts.push(`size ${stats.size}`, digestOf(path));
  if (stats.isSymbolicLink()) {
    facts.push(`to ${readlinkSync(path, { encoding: 'buffer' }).toString('latin1')}`);
  }
  if (stats.isBlockDevice() || stats.isCharacterDevice()) facts.push(`device ${stats.rdev}`);
  if (stats.nlink > 1n && !stats.isDirectory()) {
    if (!inodes.has(stats.ino)) inodes.set(stats.ino, inodes.size);
    facts.push(`file ${inodes.get(stats.ino)}`);
  }
  for (const name of listAttributes(path)) {
    facts.push(`${name.toString('latin1')}=${getAttribute(path, name)?.toString('hex')}`);
  }
  return facts.join(' ');
}

function digestOf(path: Buffer): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** Bytes that a file takes on its disk. */
export function allocatedBytes(path: string): number {
  return lstatSync(path).blocks * 512;
}
