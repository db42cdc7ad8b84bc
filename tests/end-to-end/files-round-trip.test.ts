// Folders come back as they were: content, metadata, and everything a file system can hold.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { seededRandom } from '@coffer/base';
import { CURRENT_FOLDER, setModifiedAt } from '@coffer/base/folder-calls.ts';
import { type Backup, type Restore, Sandbox } from './testing/sandbox.ts';
import { allocatedBytes, snapshot } from './testing/snapshot.ts';

const isRoot = process.getuid?.() === 0;
const random = seededRandom(7);
const KIB = 1024;
const MIB = 1024 * KIB;

async function roundTrip(sandbox: Sandbox, source: string): Promise<string> {
  const { point, findings } = await sandbox.json<Backup>(['backup', source, '--item', 'tree']);
  assert.deepEqual(findings, []);
  const target = sandbox.path('restored');
  const restored = await sandbox.json<Restore>(['restore', point, '--to', target, '--verify']);
  assert.deepEqual(restored.findings, []);
  assert.equal(restored.verified, true);
  return target;
}

test('contents of all sizes come back', async () => {
  using sandbox = await Sandbox.withRepository();
  const sizes = [0, 1, 4095, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 256 * KIB, MIB, MIB + 1];
  sizes.push(5 * MIB, 40 * MIB + 3);
  const files = sizes.map((size) => [`size-${size}`, random.bytes(size)] as const);
  const source = sandbox.source(Object.fromEntries(files));
  writeFileSync(join(source, 'zeroes'), Buffer.alloc(3 * MIB));
  writeFileSync(join(source, 'text'), 'the quick brown fox '.repeat(100_000));
  const target = await roundTrip(sandbox, source);
  assert.deepEqual(snapshot(target), snapshot(source));
});

test('folders of many names and empty folders come back', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source();
  mkdirSync(join(source, 'many'));
  for (let index = 0; index < 5000; index++) {
    writeFileSync(join(source, 'many', `entry-${index}`), index % 3 === 0 ? '' : `${index}`);
  }
  mkdirSync(join(source, 'empty/deeper/deepest'), { recursive: true });
  for (let index = 0; index < 600; index++) {
    mkdirSync(join(source, `folder-${index}`));
    writeFileSync(join(source, `folder-${index}`, 'file'), `${index}`);
  }
  const target = await roundTrip(sandbox, source);
  assert.deepEqual(snapshot(target), snapshot(source));
});

test('links, names of any bytes and times to the nanosecond come back', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ 'one/file': 'shared', plain: 'plain' });
  mkdirSync(join(source, 'two'));
  linkSync(join(source, 'one/file'), join(source, 'two/same file'));
  linkSync(join(source, 'one/file'), join(source, 'again'));
  symlinkSync('../no where', join(source, 'one/dangling'));
  symlinkSync('/etc/passwd', join(source, 'absolute'));
  const folder = Buffer.from(`${source}/`);
  for (const name of [
    'not-utf8-\xff\xfe',
    'new\nline',
    'esc\x1b[31m',
    ' spaces ',
    '-dash',
    '\\x',
  ]) {
    writeFileSync(Buffer.concat([folder, Buffer.from(name, 'latin1')]), name);
  }
  const bytes = Buffer.concat([folder, Buffer.from('\x80dir', 'latin1')]);
  mkdirSync(bytes);
  writeFileSync(Buffer.concat([bytes, Buffer.from('/in')]), 'inside');
  setModifiedAt(CURRENT_FOLDER, Buffer.from(join(source, 'plain')), 1_234_567_890_123_456_789n);
  setModifiedAt(CURRENT_FOLDER, Buffer.from(join(source, 'one/dangling')), -5_000_000_001n);
  setModifiedAt(CURRENT_FOLDER, Buffer.from(join(source, 'two')), 7n);
  const target = await roundTrip(sandbox, source);
  assert.deepEqual(snapshot(target), snapshot(source));
  assert.equal(statSync(join(target, 'plain'), { bigint: true }).mtimeNs % 1000n, 789n);
});

test('sparse files stay sparse', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source();
  const fd = openSync(join(source, 'sparse'), 'w');
  writeSync(fd, random.bytes(300 * KIB), 0, 300 * KIB, 10 * MIB);
  writeSync(fd, Buffer.from('near the end'), 0, 12, 60 * MIB);
  ftruncateSync(fd, 64 * MIB);
  closeSync(fd);
  closeSync(openSync(join(source, 'hole'), 'w'));
  execFileSync('truncate', ['-s', '9M', join(source, 'hole')]);
  const target = await roundTrip(sandbox, source);
  assert.deepEqual(snapshot(target), snapshot(source));
  assert.ok(allocatedBytes(join(target, 'sparse')) < 2 * MIB, 'holes are holes');
  assert.equal(allocatedBytes(join(target, 'hole')), 0);
});

test('modes, attributes and ACLs come back', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ setuid: 'a', sticky: 'b', none: 'c', acl: 'd', 'folder/x': 'e' });
  chmodSync(join(source, 'setuid'), 0o6755);
  chmodSync(join(source, 'none'), 0o600);
  chmodSync(join(source, 'folder'), 0o3770);
  chmodSync(source, 0o711);
  execFileSync('setfattr', ['-n', 'user.note', '-v', 'a note', join(source, 'none')]);
  execFileSync('setfattr', ['-n', 'user.folder', '-v', '0x00ff0a', join(source, 'folder')]);
  execFileSync('setfacl', ['-m', 'u:1234:rw', join(source, 'acl')]);
  execFileSync('setfacl', ['-d', '-m', 'g:4321:rx', join(source, 'folder')]);
  const target = await roundTrip(sandbox, source);
  assert.deepEqual(snapshot(target), snapshot(source));
});

test('owners, fifos, sockets and devices come back', async (t) => {
  if (!isRoot) {
    t.skip('only root makes devices and gives files away');
    return;
  }
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ owned: 'a', capable: 'b' });
  chownSync(join(source, 'owned'), 1234, 4321);
  chmodSync(join(source, 'owned'), 0o4750);
  execFileSync('setcap', ['cap_net_raw+ep', join(source, 'capable')]);
  execFileSync('mkfifo', ['-m', '640', join(source, 'fifo')]);
  execFileSync('mknod', [join(source, 'null'), 'c', '1', '3']);
  execFileSync('mknod', [join(source, 'disk'), 'b', '253', '77']);
  symlinkSync('owned', join(source, 'link'));
  execFileSync('chown', ['-h', '99:98', join(source, 'link')]);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(join(source, 'socket'), resolve));
  const target = await roundTrip(sandbox, source);
  const [before, after] = [snapshot(source), snapshot(target)];
  server.close();
  assert.deepEqual(after, before);
});

test('unchanged files are not read again, changed ones are', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ big: random.bytes(3 * MIB), 'a/small': 'small', empty: '' });
  const first = await sandbox.json<Backup>(['backup', source, '--item', 'i']);
  assert.equal(first.bytesRead, first.bytesSource);
  const second = await sandbox.json<Backup>(['backup', source, '--item', 'i']);
  assert.deepEqual([second.bytesRead, second.chunksNew], [0, 0]);
  assert.equal(second.bytesSource, first.bytesSource);
  appendFileSync(join(source, 'a/small'), '!');
  const third = await sandbox.json<Backup>(['backup', source, '--item', 'i']);
  assert.equal(third.bytesRead, 6);
  const all = await sandbox.json<Backup>(['backup', source, '--item', 'i', '--parent', 'none']);
  assert.equal(all.bytesRead, all.bytesSource);
  assert.equal(all.chunksNew, 0);
  // A file that is put back with an old time has another inode or time of change.
  writeFileSync(join(source, 'a/small'), 'SMALL!');
  utimesSync(join(source, 'a/small'), 1, 1);
  const fifth = await sandbox.json<Backup>([
    'backup',
    source,
    '--item',
    'i',
    '--parent',
    first.point,
  ]);
  assert.equal(fifth.bytesRead, 6);
});
