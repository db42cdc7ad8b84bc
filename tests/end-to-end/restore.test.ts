// Restoring onto what exists, in part, and never outside of the target.
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  type FileEntry,
  seededRandom,
  systemClock,
  systemProcesses,
  systemRandom,
} from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import {
  encodePoint,
  inlineChunkPool,
  Repository,
  type UnlockedRepository,
} from '@coffer/repository';
import { encodePage } from '@coffer/repository/tree/folder-codec.ts';
import { openFilesystemStore } from '@coffer/storage/filesystem.ts';
import { type Backup, PASSPHRASE, type Restore, Sandbox } from './testing/sandbox.ts';
import { snapshot } from './testing/snapshot.ts';

const MIB = 1024 * 1024;

async function protect(sandbox: Sandbox, source: string, item = 'i'): Promise<string> {
  return (await sandbox.json<Backup>(['backup', source, '--item', item])).point;
}

test('a target that holds something is refused', async () => {
  using sandbox = await Sandbox.withRepository();
  const point = await protect(sandbox, sandbox.source({ a: 'new' }));
  mkdirSync(sandbox.path('target'));
  writeFileSync(sandbox.path('target/mine'), 'mine');
  const words = ['restore', point, '--to', sandbox.path('target')];
  await sandbox.fails(words, 'target-not-empty', 15);
  await sandbox.fails([...words, '--dry-run'], 'target-not-empty', 15);
  assert.deepEqual(readdirSync(sandbox.path('target')), ['mine']);
  await sandbox.fails([...words, '--delta', '--on-conflict', 'skip'], 'usage', 2);
});

test('every way to meet a conflict does what it says', async () => {
  const cases: [mode: string, code: number, expected: Record<string, string>][] = [
    ['overwrite', 0, { a: 'new', b: 'mine too', c: 'new c' }],
    ['skip', 0, { a: 'mine', b: 'mine too', c: 'new c' }],
    ['fail', 15, { a: 'mine', b: 'mine too' }],
    ['keep-both', 0, { a: 'mine', 'a.restored': 'new', b: 'mine too', c: 'new c' }],
  ];
  using sandbox = await Sandbox.withRepository();
  const point = await protect(sandbox, sandbox.source({ a: 'new', c: 'new c' }));
  for (const [mode, code, expected] of cases) {
    const target = sandbox.path(mode);
    mkdirSync(target);
    writeFileSync(join(target, 'a'), 'mine');
    writeFileSync(join(target, 'b'), 'mine too');
    const words = ['restore', point, '--to', target, '--on-conflict', mode];
    assert.equal((await sandbox.run(words)).code, code, mode);
    const found = readdirSync(target).map((name) => [
      name,
      readFileSync(join(target, name), 'utf8'),
    ]);
    assert.deepEqual(Object.fromEntries(found), expected, mode);
  }
});

test('a second restore of everything by keep-both keeps both', async () => {
  using sandbox = await Sandbox.withRepository();
  const point = await protect(sandbox, sandbox.source({ 'd/a': 'a', 'd/b': 'b' }));
  const target = sandbox.path('target');
  for (let round = 0; round < 3; round++) {
    await sandbox.done('restore', point, '--to', target, '--on-conflict', 'keep-both');
  }
  const expected = ['a', 'a.restored', 'a.restored-2', 'b', 'b.restored', 'b.restored-2'];
  assert.deepEqual(readdirSync(join(target, 'd')).sort(), expected);
});

test('a delta writes only what differs', async () => {
  using sandbox = await Sandbox.withRepository();
  const big = seededRandom(3).bytes(12 * MIB);
  const source = sandbox.source({ big, 'd/same': 'same', 'd/other': 'other' });
  const point = await protect(sandbox, source);
  const target = sandbox.path('target');
  await sandbox.done('restore', point, '--to', target);
  const inode = statSync(join(target, 'big')).ino;
  const words = ['restore', point, '--to', target, '--delta', '--verify'];
  const equal = await sandbox.json<Restore>(words);
  assert.deepEqual([equal.bytesWritten, equal.bytesKept], [0, 12 * MIB + 9]);
  const changed = Buffer.from(big);
  changed[5 * MIB] = changed[5 * MIB]! ^ 1;
  writeFileSync(join(target, 'big'), Buffer.concat([changed, Buffer.from('and more')]));
  writeFileSync(join(target, 'd/other'), 'OTHER');
  const delta = await sandbox.json<Restore>(words);
  assert.ok(delta.bytesWritten > 5 && delta.bytesWritten <= MIB + 5, `${delta.bytesWritten}`);
  assert.equal(delta.bytesWritten + delta.bytesKept, 12 * MIB + 9);
  assert.deepEqual(snapshot(target), snapshot(source));
  assert.equal(statSync(join(target, 'big')).ino, inode);
});

test('parts are restored: a folder, a file, what patterns include', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({
    'docs/a.odt': 'a',
    'docs/deep/b.odt': 'b',
    'docs/c.txt': 'c',
    'other/d.odt': 'd',
  });
  const point = await protect(sandbox, source);
  const restore = async (from: string, name: string, ...more: string[]): Promise<string[]> => {
    await sandbox.done('restore', from, '--to', sandbox.path(name), ...more);
    return Object.keys(snapshot(sandbox.path(name)))
      .filter((path) => /\.\w+$/.test(path))
      .sort();
  };
  const docs = ['/a.odt', '/c.txt', '/deep/b.odt'];
  assert.deepEqual(await restore(`${point}:docs`, 'folder'), docs);
  assert.deepEqual(await restore(`i@latest:/docs/`, 'slashes'), docs);
  assert.deepEqual(await restore(`${point}:docs/deep/b.odt`, 'file'), ['/b.odt']);
  const included = await restore(point, 'included', '--include', '*.odt', '--include', '!d.odt');
  assert.deepEqual(included, ['/docs/a.odt', '/docs/deep/b.odt']);
  assert.equal(existsSync(sandbox.path('included/other')), false);
  await sandbox.fails(['restore', `${point}:no/such`, '--to', 'x'], 'path-not-found', 12);
  await sandbox.fails(['restore', `${point}:docs/c.txt/x`, '--to', 'x'], 'path-not-found', 12);
});

test('a dry run writes nothing', async () => {
  using sandbox = await Sandbox.withRepository();
  const point = await protect(sandbox, sandbox.source({ a: '12345', 'b/c': '678' }));
  const target = sandbox.path('nowhere/target');
  const words = ['restore', point, '--to', target, '--dry-run'];
  assert.equal((await sandbox.json<Restore>(words)).bytesWritten, 8);
  assert.equal(existsSync(sandbox.path('nowhere')), false);
});

test('links planted in the target lead nowhere', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ 'folder/file': 'restored', file: 'restored' });
  const point = await protect(sandbox, source);
  for (const mode of ['overwrite', 'skip', 'keep-both', 'delta']) {
    const outside = sandbox.path(`outside-${mode}`);
    const target = sandbox.path(`target-${mode}`);
    mkdirSync(outside);
    mkdirSync(target);
    writeFileSync(join(outside, 'file'), 'precious');
    symlinkSync(outside, join(target, 'folder'));
    symlinkSync(join(outside, 'file'), join(target, 'file'));
    const how = mode === 'delta' ? ['--delta'] : ['--on-conflict', mode];
    const { code } = await sandbox.run(['restore', point, '--to', target, ...how]);
    assert.equal(code, mode === 'skip' ? 3 : 0, mode);
    assert.deepEqual(readdirSync(outside), ['file'], mode);
    assert.equal(readFileSync(join(outside, 'file'), 'utf8'), 'precious', mode);
  }
  assert.equal(readFileSync(sandbox.path('target-delta/folder/file'), 'utf8'), 'restored');
});

test('a link of one point and a folder of another lead nowhere together', async () => {
  using sandbox = await Sandbox.withRepository();
  const outside = sandbox.path('outside');
  mkdirSync(outside);
  const first = sandbox.source();
  symlinkSync(outside, join(first, 'x'));
  const link = await protect(sandbox, first);
  mkdirSync(sandbox.path('second/x'), { recursive: true });
  writeFileSync(sandbox.path('second/x/file'), 'in a folder');
  const folder = await protect(sandbox, sandbox.path('second'));
  const target = sandbox.path('target');
  await sandbox.done('restore', link, '--to', target);
  assert.equal(readlinkSync(join(target, 'x')), outside);
  await sandbox.done('restore', folder, '--to', target, '--on-conflict', 'overwrite');
  assert.deepEqual(readdirSync(outside), []);
  assert.equal(readFileSync(join(target, 'x/file'), 'utf8'), 'in a folder');
});

test('hostile names in a tree are refused', async () => {
  using sandbox = await Sandbox.withRepository();
  for (const name of ['..', '.', '../escaped', '/tmp/escaped', 'a/b', 'zero\0byte', '']) {
    const point = await plantPoint(sandbox, Buffer.from(name));
    const target = sandbox.path('inner/target');
    await sandbox.fails(['restore', point, '--to', target], 'object-damaged', 20);
    assert.deepEqual(existsSync(target) ? readdirSync(target) : [], [], name);
    assert.equal(existsSync(sandbox.path('inner/escaped')), false, name);
  }
  assert.equal(existsSync('/tmp/escaped'), false);
});

/** A point that no Coffer makes, sealed with the right keys. */
async function plantPoint(sandbox: Sandbox, name: Buffer): Promise<string> {
  const locked = await Repository.open(testRun(), {
    store: await openFilesystemStore(sandbox.path('repo')),
    index: { cacheFolder: sandbox.path('planting') },
    processes: systemProcesses,
    chunkPool: inlineChunkPool(systemRandom),
  });
  try {
    const repository = await locked.unlock(PASSPHRASE);
    const session = await repository.beginSession();
    const root = await session.writer.writeNode([], plantedPage(name));
    const takenAt = systemClock.now();
    const roots = [{ name: 'files', root: root.toString('hex'), sizeBytes: 0 }];
    const manifest = {
      host: 'h',
      sourcePath: '/',
      findingCount: 0,
      findings: [],
      bytesRead: 0,
      bytesStored: 0,
      durationMs: 0,
    };
    const header = { item: 'planted', kind: 'files' as const, takenAt, roots, tags: {} };
    const point = encodePlanted(header, manifest, repository);
    await session.commit([point]);
    return point.id;
  } finally {
    await locked.close();
  }
}

/** A page of one entry, whose name no writer would take. */
function plantedPage(name: Buffer): Buffer {
  const { body } = encodePage([PLANTED]);
  const start = body.indexOf(PLANTED.name);
  const length = Buffer.of(name.length);
  const rest = body.subarray(start + PLANTED.name.length);
  return Buffer.concat([body.subarray(0, start - 1), length, name, rest]);
}

function encodePlanted(
  header: Parameters<typeof encodePoint>[0],
  manifest: unknown,
  repository: UnlockedRepository,
): ReturnType<typeof encodePoint> {
  return encodePoint(header, manifest, { ...repository.keys, random: repository.run.random });
}

const PLANTED: FileEntry = {
  name: Buffer.from('planted'),
  type: 'file',
  mode: 0o644,
  userId: 0,
  groupId: 0,
  modifiedNs: 0n,
  changedNs: 0n,
  inode: 1n,
  sizeBytes: 0,
  hardLink: undefined,
  linkTarget: undefined,
  deviceNumber: undefined,
  extendedAttributes: [],
  content: { form: 'pieces', pieces: [] },
  folder: undefined,
};
