// What a hostile file system may do to a restore: be refused.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { CofferError, collecting } from '@coffer/base';
import { listAttributes } from '@coffer/base/libc.ts';
import { testRun } from '@coffer/base/testing/run.ts';
import type { FileSystem } from '@coffer/file-system/file-system.ts';
import {
  memoryFileSystem,
  type MemoryNode,
  memoryNode,
} from '@coffer/file-system/fuse/testing/memory-file-system.ts';
import { type FilesRestoreOptions, restoreFiles } from './files.ts';
import { measureFiles } from './measure.ts';
import { PathFindings } from './path-findings.ts';
import { openVolumeSource, type VolumeSourceOptions } from './volume-source.ts';

let folder: string;
let target: string;
let openBefore: string[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coffer-hostile-'));
  target = join(folder, 'a/b/target');
  mkdirSync(target, { recursive: true });
  openBefore = openFolders();
});
afterEach(() => {
  assert.deepEqual(openFolders(), openBefore, 'no folder stays open');
  // Node removes by paths, which may be too long here.
  execFileSync('rm', ['-rf', folder]);
});

function openFolders(): string[] {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return statSync(`/proc/self/fd/${fd}`).isDirectory();
    } catch {
      return false;
    }
  });
}

/** Restores all of it; returns `code path` of the findings. */
async function restored(
  fileSystem: FileSystem<MemoryNode>,
  {
    depthMax,
    privileges,
    signal,
    ...options
  }: Partial<FilesRestoreOptions> & VolumeSourceOptions & { signal?: AbortSignal } = {},
): Promise<string[]> {
  const { run, findings: found } = collecting(testRun(signal && { signal }));
  const findings = new PathFindings(run);
  await restoreFiles(
    run,
    await openVolumeSource(fileSystem, '', { depthMax, privileges }),
    Buffer.from(target),
    {
      findings,
      conflict: undefined,
      isNewTarget: true,
      isIncluded: () => true,
      ...options,
    },
  );
  return found.map(({ code, subject }) => `${code} ${subject.name}`);
}

const file = (name: string | Buffer, text = 'content'): MemoryNode =>
  memoryNode(name, { content: Buffer.from(text) });

test('names that lead out of the folder are left out, and told', async () => {
  const names = ['..', '.', '', '../up', '/tmp/up', 'a/b', 'zero\0byte', 'x'.repeat(4096)];
  const hostile = names.flatMap((name) => [
    file(name),
    memoryNode(name, { children: [file('inner')] }),
    memoryNode(name, { type: 'symlink', linkTarget: Buffer.from('/tmp') }),
  ]);
  const found = await restored(memoryFileSystem([...hostile, file('good')]));
  assert.deepEqual(found, ['file-system-damaged ']);
  assert.deepEqual(readdirSync(target), ['good']);
  assert.deepEqual(readdirSync(folder), ['a']);
  assert.deepEqual(readdirSync(join(folder, 'a')), ['b']);
});

test('a folder that is in itself, or in two places, is restored once', async () => {
  const inner: MemoryNode[] = [file('file')];
  const loop = memoryNode('loop', { children: inner });
  inner.push(memoryNode('again', { children: inner, inode: loop.inode }));
  const twin = memoryNode('twin', { children: inner, inode: loop.inode });
  const found = await restored(memoryFileSystem([loop, twin]));
  assert.deepEqual(found, ['file-system-damaged loop/again', 'file-system-damaged twin']);
  assert.deepEqual(readdirSync(join(target, 'loop')).sort(), ['again', 'file']);
});

test('2^40 folders out of 40 come to an end', async () => {
  let level = memoryNode('last', { children: [file('file')] });
  for (let depth = 0; depth < 40; depth++) {
    const twin = { ...level, name: Buffer.from('twin') };
    level = memoryNode('level', { children: [level, twin] });
  }
  const found = await restored(memoryFileSystem([level]));
  assert.equal(found.length, 40);
});

/** What would give its maker rights on this host. */
function privileged(): MemoryNode[] {
  const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');
  const attributes = [
    { name: Buffer.from('security.capability'), value: capability },
    { name: Buffer.from('user.kept'), value: Buffer.from('kept') },
  ];
  return [
    memoryNode('disk', { type: 'block-device', deviceNumber: 0x801n }),
    memoryNode('memory', { type: 'character-device', deviceNumber: 0x101n }),
    memoryNode('fifo', { type: 'fifo' }),
    memoryNode('set-id', { content: Buffer.from('a program'), mode: 0o6755 }),
    memoryNode('capable', { content: Buffer.from('another'), extendedAttributes: attributes }),
    memoryNode('folder', { children: [], mode: 0o2775 }),
  ];
}

test('what gives rights on the host is left out, and told', async () => {
  const found = await restored(memoryFileSystem(privileged()));
  assert.deepEqual(found.sort(), [
    'attribute-not-restored capable',
    'mode-not-restored set-id',
    'node-not-restored disk',
  ]);
  assert.deepEqual(readdirSync(target).sort(), ['capable', 'fifo', 'folder', 'set-id']);
  assert.equal(statSync(join(target, 'set-id')).mode & 0o7777, 0o755);
  assert.equal(statSync(join(target, 'folder')).mode & 0o7777, 0o2775);
  const names = listAttributes(Buffer.from(join(target, 'capable'))).map(String);
  assert.deepEqual(names, ['user.kept']);
});

test('what gives rights on the host is restored when that was asked for', async () => {
  assert.deepEqual(await restored(memoryFileSystem(privileged()), { privileges: true }), []);
  assert.ok(statSync(join(target, 'disk')).isBlockDevice());
  assert.ok(statSync(join(target, 'memory')).isCharacterDevice());
  assert.equal(statSync(join(target, 'set-id')).mode & 0o7777, 0o6755);
  const names = listAttributes(Buffer.from(join(target, 'capable'))).map(String);
  assert.deepEqual(names.sort(), ['security.capability', 'user.kept']);
});

test('empty folders of one number are no loop', async () => {
  const empty = ['a', 'b'].map((name) => memoryNode(name, { children: [], inode: 9n }));
  assert.deepEqual(await restored(memoryFileSystem(empty)), []);
  assert.deepEqual(readdirSync(target).sort(), ['a', 'b']);
});

/** Each folder has another in it, without end. */
function bottomless(): FileSystem<MemoryNode> {
  const fileSystem = memoryFileSystem([]);
  return {
    ...fileSystem,
    async *entries() {
      yield memoryNode('d', { type: 'directory' });
    },
  };
}

test('folders that nest without end are restored to a limit', async () => {
  const found = await restored(bottomless(), { depthMax: 300 });
  assert.equal(found.length, 1);
  assert.match(found[0]!, /^file-system-damaged (d\/)+d$/);
  const source = await openVolumeSource(bottomless(), '');
  const { run, findings: told } = collecting(testRun());
  const findings = new PathFindings(run);
  assert.equal(await measureFiles(run, source, { findings, isIncluded: () => true }), 0);
  assert.deepEqual(
    told.map(({ code }) => code),
    ['file-system-damaged'],
  );
});

test('a file of another length than it says is not left under its name', async () => {
  const short = { ...file('short'), sizeBytes: 1000 };
  const huge = { ...file('huge'), sizeBytes: Number.MAX_SAFE_INTEGER };
  const found = await restored(memoryFileSystem([short, file('good'), huge]));
  assert.deepEqual(found.sort(), ['file-system-damaged short', 'not-restored huge']);
  assert.deepEqual(readdirSync(target), ['good']);
});

test('links without a target, and other things that cannot be made, are told', async () => {
  const linkTarget = Buffer.from('zero\0byte');
  const found = await restored(
    memoryFileSystem([
      memoryNode('nowhere', { type: 'symlink' }),
      memoryNode('zero', { type: 'symlink', linkTarget }),
      file('good'),
    ]),
  );
  assert.deepEqual(found, ['not-restored zero', 'file-system-damaged ']);
  assert.deepEqual(readdirSync(target), ['good']);
});

test('a name that is there twice is told, and nothing is lost of the first', async () => {
  const linkTarget = Buffer.from(folder);
  const link = memoryNode('x', { type: 'symlink', linkTarget });
  const found = await restored(
    memoryFileSystem([
      memoryNode('x', { children: [file('inner')] }),
      link,
      file('x', 'other'),
      { ...link, name: Buffer.from('y') },
      memoryNode('y', { children: [file('planted')] }),
    ]),
  );
  assert.deepEqual(found, ['conflict x', 'conflict x', 'conflict y']);
  assert.equal(readFileSync(join(target, 'x/inner'), 'utf8'), 'content');
  assert.deepEqual(readdirSync(folder), ['a']);
});

test('names of one file are joined, whichever folder is finished first', async () => {
  const hardLink = { device: 0n, inode: 77n };
  const name = (text: string) => ({ ...file(text), hardLink });
  const found = await restored(
    memoryFileSystem([
      memoryNode('deep', { children: [memoryNode('er', { children: [name('first')] })] }),
      ...Array.from({ length: 50 }, (_, index) => file(`other ${index}`)),
      memoryNode('later', { children: [name('second')] }),
      name('third'),
    ]),
  );
  assert.deepEqual(found, []);
  const inodes = ['deep/er/first', 'later/second', 'third'].map(
    (path) => statSync(join(target, path)).ino,
  );
  assert.equal(new Set(inodes).size, 1);
});

test('a run that is broken off ends, and leaves no half-written file', async () => {
  const abort = new AbortController();
  const fileSystem = memoryFileSystem([
    memoryNode('folder', { children: [file('done'), memoryNode('large', { sizeBytes: 2 ** 40 })] }),
    file('never'),
  ]);
  const endless = {
    ...fileSystem,
    read: async (node: MemoryNode, offset: number, bytes: Uint8Array) => {
      if (node.sizeBytes < 2 ** 40) return await fileSystem.read(node, offset, bytes);
      bytes.fill(0);
      setImmediate(() => abort.abort(new CofferError('interrupted')));
      return bytes.length;
    },
  };
  await assert.rejects(restored(endless, { signal: abort.signal }), { code: 'interrupted' });
  assert.ok(!readdirSync(join(target, 'folder')).includes('large'));
});
