import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { type FileMetadata, type FileType, systemErrorCode } from '@coffer/base';
import {
  CURRENT_FOLDER,
  type FileStats,
  makeNodeAt,
  type NameIn,
  namesIn,
  OPEN_READ,
  openPath,
  statAt,
} from '@coffer/base/folder-calls.ts';
import { setAttribute } from '@coffer/base/libc.ts';
import { clockDoubtNs, isUnchanged, readMetadata } from './metadata.ts';
import { excludeBy, isCacheFolder } from './selection.ts';
import { TargetFolder } from './target-folder.ts';
import { setMetadataOfFile, setMetadataOfMade } from './target-metadata.ts';
import { temporaryName } from './temporary-name.ts';

const root = mkdtempSync(join(tmpdir(), 'coffer-files-'));
after(() => rmSync(root, { recursive: true }));
let folder: string;
let count = 0;
beforeEach(() => {
  folder = join(root, String(count++));
  mkdirSync(folder);
});

const path = (name: string | Buffer): Buffer =>
  Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(name)]);

const openFolder = (): number => openPath(Buffer.from(folder), OPEN_READ);
const statsOf = (name: string | Buffer): FileStats => statAt(CURRENT_FOLDER, path(name));

function metadataOf(name: string | Buffer): FileMetadata {
  const stats = statsOf(name);
  const at = { folder: openFolder(), name: Buffer.from(name) };
  try {
    return readMetadata(at, { ...stats, type: stats.type! }, (error) => assert.fail(String(error)));
  } finally {
    closeSync(at.folder);
  }
}

/** What a restore brings back. */
function restorable(metadata: FileMetadata): Partial<FileMetadata> {
  const { changedNs: _changed, inode: _inode, hardLink: _link, ...rest } = metadata;
  return rest;
}

const noneRefused = (what: string, error: unknown): void =>
  assert.fail(`${what}: ${String(error)}`);

test('each type of entry is told with what belongs to it', () => {
  writeFileSync(path('file'), 'content');
  linkSync(path('file'), path('second name'));
  mkdirSync(path('folder'));
  symlinkSync('\xff/../nowhere', path('link'));
  makeNodeAt(CURRENT_FOLDER, path('pipe'), 0o010640, 0n);
  const types = ['file', 'folder', 'link', 'pipe'].map((name): FileType => metadataOf(name).type);
  assert.deepEqual(types, ['file', 'directory', 'symlink', 'fifo']);
  assert.equal(metadataOf('file').sizeBytes, 7);
  assert.deepEqual(metadataOf('file').hardLink, metadataOf('second name').hardLink);
  assert.notEqual(metadataOf('file').hardLink, undefined);
  assert.equal(metadataOf('folder').hardLink, undefined);
  assert.deepEqual(
    metadataOf('link').linkTarget,
    readlinkSync(path('link'), { encoding: 'buffer' }),
  );
  assert.equal(metadataOf('pipe').mode, lstatSync(path('pipe')).mode & 0o7777);
});

test('a file counts as unchanged until its content, its metadata or it itself is another', () => {
  writeFileSync(path('file'), 'content');
  const before = metadataOf('file');
  const later = BigInt(Date.now() + 5000) * 1_000_000n;
  assert.ok(isUnchanged(before, statsOf('file'), later));
  assert.ok(!isUnchanged(before, statsOf('file'), before.changedNs), 'it was too young');
  const changes: (() => void)[] = [
    () => writeFileSync(path('file'), 'CONTENT'),
    () => chmodSync(path('file'), 0o600),
    () => utimesSync(path('file'), 1, 1),
    () => {
      writeFileSync(path('other'), 'content');
      renameSync(path('other'), path('file'));
    },
    () => {
      rmSync(path('file'));
      mkdirSync(path('file'));
    },
  ];
  for (const change of changes) {
    const last = metadataOf('file');
    change();
    assert.ok(!isUnchanged(last, statsOf('file'), later), String(change));
  }
});

test('by the clock of a file server, a file may be younger than it looks', () => {
  writeFileSync(path('served'), 'content');
  const before = metadataOf('served');
  // Our clock is a minute ahead of that of the server: it changed the file in the same tick again.
  const takenAtNs = before.changedNs + 60_000_000_000n;
  const fd = openSync(folder, 'r');
  const at = (name: string): NameIn => ({ folder: fd, name: Buffer.from(name) });
  const file = at('served');
  const unchanged = (isShared: boolean): boolean =>
    isUnchanged(before, statsOf('served'), takenAtNs - clockDoubtNs(file, () => isShared));
  assert.deepEqual([unchanged(false), unchanged(true)], [true, false]);
  assert.equal(clockDoubtNs(file), 0n, 'the temporary files of tests are here');
  assert.ok(clockDoubtNs(at('vanished')) > 0n);
  closeSync(fd);
});

test('a file is restored with all its metadata, under any name', () => {
  for (const name of [Buffer.from('plain'), Buffer.from('\xff\xfe\n', 'latin1')]) {
    writeFileSync(path(name), 'content');
    setAttribute(path(name), Buffer.from('user.key'), Buffer.from('value'));
    chmodSync(path(name), 0o4751);
    utimesSync(path(name), 1, -5.5);
    const metadata = metadataOf(name);
    rmSync(path(name));
    const target = TargetFolder.open(Buffer.from(folder));
    const fd = target.createFile(name);
    writeSync(fd, 'content');
    setMetadataOfFile(fd, metadata, noneRefused);
    closeSync(fd);
    target.close();
    assert.deepEqual(restorable(metadataOf(name)), restorable(metadata));
    assert.equal(readFileSync(path(name), 'utf8'), 'content');
  }
});

test('links and nodes are restored as they were', () => {
  symlinkSync('elsewhere', path('link'));
  makeNodeAt(CURRENT_FOLDER, path('pipe'), 0o010640, 0n);
  const target = TargetFolder.open(Buffer.from(folder));
  for (const name of ['link', 'pipe']) {
    const metadata = metadataOf(name);
    rmSync(path(name));
    if (name === 'link') target.createLink(metadata, noneRefused);
    else target.createNode(metadata, noneRefused);
    assert.deepEqual(restorable(metadataOf(name)), restorable(metadata));
  }
  target.close();
});

test('nothing in the target leads a restore elsewhere', () => {
  mkdirSync(path('outside'));
  writeFileSync(path('outside/file'), 'precious');
  mkdirSync(path('target'));
  symlinkSync('../outside', path('target/folder'));
  symlinkSync('../outside/file', path('target/file'));
  const target = TargetFolder.open(path('target'));
  const refuses = (attempt: () => unknown): void => {
    assert.throws(attempt, (error) => systemErrorCode(error) !== undefined);
  };
  refuses(() => target.enter(Buffer.from('folder')));
  refuses(() => target.createFile(Buffer.from('file')));
  refuses(() => target.openFile(Buffer.from('file')));
  // The folder is moved away: what is held open stays the target.
  const entered = target.enter(Buffer.from('real'));
  renameSync(path('target/real'), path('target/moved'));
  symlinkSync('../outside', path('target/real'));
  closeSync(entered.createFile(Buffer.from('new')));
  entered.close();
  target.close();
  assert.deepEqual(readdirSync(path('outside')), ['file']);
  assert.deepEqual(readdirSync(path('target/moved')), ['new']);
  assert.equal(readFileSync(path('outside/file'), 'utf8'), 'precious');
});

test('a fifo in the place of a file does not block, and is no file', () => {
  makeNodeAt(CURRENT_FOLDER, path('pipe'), 0o010666, 0n);
  const target = TargetFolder.open(Buffer.from(folder));
  assert.equal(target.openFile(Buffer.from('pipe')), undefined);
  assert.equal(target.typeOf(Buffer.from('pipe')), 'fifo');
  assert.equal(target.typeOf(Buffer.from('none')), undefined);
  target.close();
});

test('patterns exclude as gitignore does, whatever names hold', () => {
  const excluded = (patterns: string[], name: string, isFolder = false): boolean =>
    excludeBy(patterns)(Buffer.from(name, 'latin1'), isFolder);
  assert.ok(excluded(['*.tmp'], 'a/b.tmp'));
  assert.ok(excluded(['/build'], 'build') && !excluded(['/build'], 'a/build'));
  assert.ok(excluded(['build/'], 'a/build', true) && !excluded(['build/'], 'a/build'));
  assert.ok(!excluded(['*.tmp', '!keep.tmp'], 'keep.tmp'));
  assert.ok(!excluded([], 'anything'));
  for (const name of ['..hidden', ' ', '\xff', '../x', './x', '-', '#', '\n']) {
    assert.ok(!excluded(['nothing'], name), JSON.stringify(name));
  }
});

test('a folder counts as a cache by the signature in its tag, not by the name of the tag', () => {
  const isTagged = (): boolean => {
    const fd = openFolder();
    try {
      return isCacheFolder(fd, namesIn(fd));
    } finally {
      closeSync(fd);
    }
  };
  assert.ok(!isTagged());
  writeFileSync(path('CACHEDIR.TAG'), 'something else');
  assert.ok(!isTagged());
  writeFileSync(path('CACHEDIR.TAG'), 'Signature: 8a477f597d28d172789f06886806bc55\n# more');
  assert.ok(isTagged());
});

test('another file that took the place of the first name is not linked to', () => {
  writeFileSync(path('first'), 'genuine');
  const target = TargetFolder.open(Buffer.from(folder));
  const [first, second] = [Buffer.from('first'), Buffer.from('second')];
  const meant = target.identityOf(first);
  target.createHardLink({ folder: target, name: first }, second, meant);
  assert.equal(readFileSync(path('second'), 'utf8'), 'genuine');
  target.remove(second);
  writeFileSync(path('other'), 'of somebody');
  renameSync(path('other'), path('first'));
  assert.throws(
    () => target.createHardLink({ folder: target, name: first }, second, meant),
    (error) => systemErrorCode(error) === 'ESTALE',
  );
  assert.equal(target.identityOf(second), undefined);
  target.close();
});

test('what a killed restore has left goes, and what others are at stays', () => {
  const ended = spawnSync('true').pid;
  const [before, after] = temporaryName().toString().split(`-${process.pid}-`) as [string, string];
  const names = {
    gone: `${before}-${ended}-${after}`,
    own: temporaryName().toString(),
    elsewhere: `.coffer-00000000-${ended}-${after}`,
    reused: `${before}-${process.pid}-1-0-0`,
    other: '.coffer-notes',
  };
  for (const name of Object.values(names)) writeFileSync(path(name), '');
  symlinkSync('nowhere', path(`${names.gone}1`));
  mkdirSync(path(`${names.gone}2`));
  TargetFolder.open(Buffer.from(folder)).close();
  const { own, elsewhere, other } = names;
  assert.deepEqual(readdirSync(folder).sort(), [own, elsewhere, other, `${names.gone}2`].sort());
});

test('a link that somebody replaces is not set for him, and neither is what it leads to', () => {
  writeFileSync(path('file'), '');
  symlinkSync('file', path('link'));
  const at = { folder: openFolder(), name: Buffer.from('link') };
  const before = statsOf('file');
  setMetadataOfMade(at, { ...metadataOf('link'), modifiedNs: 5n }, () =>
    assert.fail('it can be set'),
  );
  assert.equal(statsOf('link').modifiedNs, 5n);
  assert.deepEqual(statsOf('file'), before);
  const metadata = metadataOf('link');
  renameSync(path('file'), path('link'));
  assert.throws(
    () => setMetadataOfMade(at, metadata, () => {}),
    (error) => systemErrorCode(error) === 'ESTALE',
  );
  symlinkSync('link', path('two'));
  linkSync(path('two'), path('three'));
  const shared = { ...at, name: Buffer.from('two') };
  assert.throws(
    () => setMetadataOfMade(shared, metadataOf('two'), () => {}),
    (error) => systemErrorCode(error) === 'ESTALE',
  );
  closeSync(at.folder);
});
