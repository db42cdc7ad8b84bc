import assert from 'node:assert/strict';
import {
  closeSync,
  ftruncateSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { CURRENT_FOLDER, makeNodeAt, renameToNew, setModifiedAt } from './folder-calls.ts';
import {
  getAttribute,
  listAttributes,
  nextData,
  punchHole,
  setAttribute,
  sizeOf,
  SystemError,
} from './libc.ts';

const folder = mkdtempSync(join(tmpdir(), 'coffer-libc-'));
after(() => rmSync(folder, { recursive: true }));
const path = (name: string): Buffer => Buffer.from(join(folder, name));

test('runs of data and holes of a sparse file are told', () => {
  const fd = openSync(path('sparse'), 'w+');
  ftruncateSync(fd, 4 * 1024 * 1024);
  writeSync(fd, Buffer.alloc(65_536, 1), 0, 65_536, 1024 * 1024);
  assert.equal(sizeOf(fd), 4 * 1024 * 1024);
  const run = nextData(fd, 0, 4 * 1024 * 1024)!;
  assert.ok(run.offset <= 1024 * 1024 && run.offset + run.length >= 1024 * 1024 + 65_536);
  assert.equal(nextData(fd, 3 * 1024 * 1024, 4 * 1024 * 1024), undefined);
  assert.ok(punchHole(fd, 1024 * 1024, 65_536));
  assert.equal(nextData(fd, 0, 4 * 1024 * 1024), undefined);
  closeSync(fd);
});

test('times are set to the nanosecond, before 1970 too, and links are not followed', () => {
  writeFileSync(path('file'), '');
  symlinkSync('file', path('link'));
  for (const time of [1_700_000_000_123_456_789n, 0n, -1n, -1_500_000_000n]) {
    setModifiedAt(CURRENT_FOLDER, path('file'), time);
    assert.equal(statSync(path('file'), { bigint: true }).mtimeNs, time);
  }
  setModifiedAt(CURRENT_FOLDER, path('link'), 5n);
  assert.equal(lstatSync(path('link'), { bigint: true }).mtimeNs, 5n);
  assert.equal(statSync(path('file'), { bigint: true }).mtimeNs, -1_500_000_000n);
});

test('attributes are set, listed in order and read', () => {
  writeFileSync(path('attributes'), '');
  setAttribute(path('attributes'), Buffer.from('user.b'), Buffer.from('value'));
  setAttribute(path('attributes'), Buffer.from('user.a'), Buffer.alloc(0));
  const names = listAttributes(path('attributes')).map(String);
  assert.deepEqual(
    names.filter((name) => name.startsWith('user.')),
    ['user.a', 'user.b'],
  );
  assert.equal(getAttribute(path('attributes'), Buffer.from('user.b'))?.toString(), 'value');
  assert.equal(getAttribute(path('attributes'), Buffer.from('user.none')), undefined);
});

test('a fifo is made, and what fails names its system call and code', () => {
  makeNodeAt(CURRENT_FOLDER, path('fifo'), 0o010600, 0n);
  assert.ok(statSync(path('fifo')).isFIFO());
  assert.throws(
    () => makeNodeAt(CURRENT_FOLDER, path('fifo'), 0o010600, 0n),
    (error) =>
      error instanceof SystemError && error.code === 'EEXIST' && error.syscall === 'mknodat',
  );
});

test('a file is renamed to a name that nobody has', () => {
  writeFileSync(path('from'), 'a');
  writeFileSync(path('taken'), 'b');
  const isTaken = (error: unknown): boolean =>
    error instanceof SystemError && error.code === 'EEXIST';
  assert.throws(() => renameToNew(path('from'), path('taken')), isTaken);
  renameToNew(path('from'), path('free'));
  assert.equal(readFileSync(path('free'), 'utf8'), 'a');
  assert.equal(readFileSync(path('taken'), 'utf8'), 'b');
});
