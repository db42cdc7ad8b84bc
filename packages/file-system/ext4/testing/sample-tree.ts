/** A folder with all that ext4 can hold, made on a file system that the kernel has mounted. */
import {
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  closeSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { seededRandom } from '@coffer/base';
import { CURRENT_FOLDER, makeNodeAt, setModifiedAt } from '@coffer/base/folder-calls.ts';
import { setAttribute } from '@coffer/base/libc.ts';
import { tool } from '../../testing/tool.ts';

export interface SampleOptions {
  readonly sparseBytes: number;
  readonly manyNamesCount: number;
  /** Values larger than an inode has place for. */
  readonly largeAttributeBytes: number;
}

export async function makeSampleTree(root: string, options: SampleOptions): Promise<void> {
  makeFiles(root, options);
  makeOthers(root);
  makeNames(root, options.manyNamesCount);
  await makeAttributes(root, options.largeAttributeBytes);
  makeTimes(root);
}

function makeFiles(root: string, { sparseBytes }: SampleOptions): void {
  const random = seededRandom(sparseBytes);
  for (const sizeBytes of [0, 1, 59, 60, 61, 130, 5000, 65_536, 1_500_001]) {
    writeFileSync(join(root, `file-${sizeBytes}`), random.bytes(sizeBytes));
  }
  const step = Math.floor(sparseBytes / 7);
  const places = Array.from({ length: 7 }, (_, index) => index * step);
  writePieces(join(root, 'sparse'), places, random.bytes(5000), sparseBytes);
  // Every other block is a hole, so that the map needs many entries.
  const fragments = Array.from({ length: 700 }, (_, index) => index * 8192);
  writePieces(join(root, 'fragmented'), fragments, random.bytes(100), 700 * 8192);
}

function writePieces(
  path: string,
  offsets: readonly number[],
  bytes: Buffer,
  sizeBytes: number,
): void {
  const fd = openSync(path, 'w');
  try {
    for (const offset of offsets) writeSync(fd, bytes, 0, bytes.length, offset);
    ftruncateSync(fd, sizeBytes);
  } finally {
    closeSync(fd);
  }
}

function makeOthers(root: string): void {
  symlinkSync('file-1', join(root, 'link'));
  for (const length of [59, 60, 900]) symlinkSync('l'.repeat(length), join(root, `link-${length}`));
  linkSync(join(root, 'file-5000'), join(root, 'hard link'));
  const node = (name: string, mode: number, device: bigint) =>
    makeNodeAt(CURRENT_FOLDER, Buffer.from(join(root, name)), mode, device);
  node('fifo', 0o010640, 0n);
  node('socket', 0o140600, 0n);
  node('null', 0o020666, 0x103n);
  node('wide', 0o060660, 0x1234_5678n);
}

function makeNames(root: string, manyNamesCount: number): void {
  mkdirSync(join(root, 'empty folder'));
  mkdirSync(join(root, 'a/b/c/d'), { recursive: true });
  writeFileSync(join(root, 'a/b/c/d/deep'), 'deep');
  mkdirSync(join(root, 'few'));
  for (const name of ['Größe', 'x'.repeat(255), ' ', '\n', '...']) {
    writeFileSync(join(root, 'few', name), name);
  }
  writeFileSync(Buffer.concat([Buffer.from(join(root, 'few/')), Buffer.from([0xff, 0xfe])]), '');
  mkdirSync(join(root, 'many'));
  for (let index = 0; index < manyNamesCount; index++) {
    writeFileSync(join(root, 'many', `a name that is rather long, number ${index}`), '');
  }
}

async function makeAttributes(root: string, largeBytes: number): Promise<void> {
  const set = (name: string, attribute: string, value: Buffer | string) =>
    setAttribute(Buffer.from(join(root, name)), Buffer.from(attribute), Buffer.from(value));
  set('file-1', 'user.small', 'value');
  set('file-1', 'trusted.other', '');
  set('file-130', 'user.large', Buffer.alloc(largeBytes, 0x61));
  set('a', 'security.label', 'a label');
  set('link', 'trusted.of-link', 'x');
  await tool('setfacl', ['-m', 'u:1234:rw,g:77:r,u:0:rwx', join(root, 'file-5000')]);
  await tool('setfacl', ['-d', '-m', 'u:1234:rw', join(root, 'a')]);
}

function makeTimes(root: string): void {
  const times = { 'file-0': -12_345_678_901n, 'file-1': 1_700_000_000_123_456_789n };
  const far = { 'file-59': 9_000_000_000_000_000_001n, 'a/b': 4_300_000_000_999_999_999n };
  for (const [name, ns] of Object.entries({ ...times, ...far })) {
    setModifiedAt(CURRENT_FOLDER, Buffer.from(join(root, name)), ns);
  }
}
