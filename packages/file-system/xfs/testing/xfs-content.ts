/** What tests put on XFS volumes: each kind of file, attribute and folder that the format knows. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  copyFileSync,
  linkSync,
  mkdirSync,
  openSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { seededRandom } from '@coffer/base';
import { CURRENT_FOLDER, makeNodeAt } from '@coffer/base/folder-calls.ts';
import { punchHole, setAttribute } from '@coffer/base/libc.ts';

export const MIB = 1024 * 1024;
export const random = seededRandom(5);

export function fillFiles(folder: string): void {
  const at = (path: string) => join(folder, path);
  writeFileSync(at('empty'), '');
  writeFileSync(at('small'), 'some bytes');
  writeFileSync(at('large'), random.bytes(3 * MIB + 3));
  mkdirSync(at('folder/in folder/deep'), { recursive: true });
  linkSync(at('large'), at('folder/hard link'));
  for (const length of [1, 100, 300, 400, 900, 1023]) {
    symlinkSync(`${'t'.repeat(length - 1)}x`, at(`link of ${length}`));
  }
  for (const name of ['Ünïcode', '日本語', 'x'.repeat(255), '..a', ' '])
    writeFileSync(at(name), name);
  makeNodeAt(CURRENT_FOLDER, Buffer.from(at('fifo')), 0o010644, 0n);
  makeNodeAt(CURRENT_FOLDER, Buffer.from(at('socket')), 0o140600, 0n);
  makeNodeAt(CURRENT_FOLDER, Buffer.from(at('character')), 0o020640, 0x1_0203n);
  makeNodeAt(CURRENT_FOLDER, Buffer.from(at('block')), 0o060640, 0x1110_0870n);
  utimesSync(at('small'), 1, 12345.678901);
  utimesSync(at('empty'), -5000, -86_400.5);
  execFileSync('chown', ['1234:5678', at('small')]);
  execFileSync('chmod', ['7751', at('small')]);
}

export function fillSparse(folder: string): void {
  const at = (path: string) => join(folder, path);
  writeFileSync(at('sparse'), 'begin');
  truncateSync(at('sparse'), 3 * 1024 ** 4);
  const sparse = openSync(at('sparse'), 'r+');
  writeSync(sparse, Buffer.from('in the middle'), 0, 13, 2 * 1024 ** 4 + 77);
  closeSync(sparse);
  execFileSync('fallocate', ['-l', '3M', at('reserved')]);
  const reserved = openSync(at('reserved'), 'r+');
  writeSync(reserved, random.bytes(100_000), 0, 100_000, MIB + 17);
  closeSync(reserved);
  fillFragmented(at('fragmented'), 12 * MIB);
  copyFileSync(at('fragmented'), at('shared blocks'), constants.COPYFILE_FICLONE_FORCE);
}

/** Every other 4 KiB are holes, so that there is an extent for each. */
export function fillFragmented(path: string, sizeBytes: number): void {
  writeFileSync(path, random.bytes(sizeBytes));
  const file = openSync(path, 'r+');
  for (let offset = 0; offset < sizeBytes; offset += 8192) assert.ok(punchHole(file, offset, 4096));
  closeSync(file);
}

export function fillAttributes(folder: string): void {
  const set = (path: string, name: string, value: Buffer) =>
    setAttribute(Buffer.from(join(folder, path)), Buffer.from(name), value);
  for (const name of ['few', 'many', 'large', 'list']) writeFileSync(join(folder, name), name);
  mkdirSync(join(folder, 'inherited'));
  set('few', 'user.a', Buffer.from('value'));
  set('few', 'user.empty', Buffer.alloc(0));
  set('few', 'trusted.b', Buffer.from([0, 1, 255]));
  set('few', 'security.c', Buffer.from('c'));
  for (let index = 0; index < 400; index++) {
    set('many', `user.${index} ${'n'.repeat(index % 80)}`, random.bytes(index % 150));
  }
  for (const length of [500, 1000, 3000, 4096, 20_000, 65_536]) {
    set('large', `user.of ${length}`, random.bytes(length));
  }
  const list = Buffer.from('02000000010006ffffffffff02000600d204000004000400ffffffff', 'hex');
  const rest = Buffer.from('10000600ffffffff20000400ffffffff', 'hex');
  const entries = Buffer.concat([list, rest]);
  entries.set([0x06, 0x00], 6);
  set('list', 'system.posix_acl_access', entries);
  set('inherited', 'system.posix_acl_default', entries);
}

export function fillFolders(folder: string): void {
  for (const count of [1, 5, 40, 120, 1000, 5000]) {
    const inside = join(folder, `folder of ${count}`);
    mkdirSync(inside);
    for (let index = 0; index < count; index++) {
      const path = join(inside, `${index.toString(36)} ${'n'.repeat(index % 60)}`);
      if (index % 40 === 0) mkdirSync(path);
      else writeFileSync(path, '');
    }
    for (let index = 1; index < count; index += 10) {
      rmSync(join(inside, `${index.toString(36)} ${'n'.repeat(index % 60)}`));
    }
  }
}
