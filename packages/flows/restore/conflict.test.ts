import assert from 'node:assert/strict';
import { lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { FileEntry, FileType } from '@coffer/base';
import { TargetFolder } from '@coffer/workloads/files/target-folder.ts';
import { type Conflict, CONFLICTS, prepareName } from './conflict.ts';

const folder = mkdtempSync(join(tmpdir(), 'coffer-conflict-'));
after(() => rmSync(folder, { recursive: true }));
mkdirSync(join(folder, 'directory'));
writeFileSync(join(folder, 'file'), '');
symlinkSync('nowhere', join(folder, 'symlink'));
const target = TargetFolder.open(Buffer.from(folder));

function entryOf(type: FileType, name: string): FileEntry {
  return {
    name: Buffer.from(name),
    type,
    mode: 0,
    userId: 0,
    groupId: 0,
    modifiedNs: 0n,
    changedNs: 0n,
    inode: 0n,
    sizeBytes: 0,
    hardLink: undefined,
    linkTarget: undefined,
    deviceNumber: undefined,
    extendedAttributes: [],
    content: undefined,
    folder: undefined,
  };
}

function outcome(type: FileType, there: string, conflict: Conflict): string {
  const prepared = prepareName(target, entryOf(type, there), conflict);
  if (prepared.outcome !== 'create') return prepared.outcome;
  const renamed = prepared.name.toString() === there ? '' : ` as ${prepared.name.toString()}`;
  return `${prepared.existing}${renamed}`;
}

/** What comes, what is there, and what becomes of it under each choice. */
const TABLE: readonly [type: FileType, there: string, outcomes: Record<Conflict, string>][] = [
  ['file', 'none', all('none')],
  ['directory', 'directory', all('keep')],
  [
    'file',
    'file',
    {
      overwrite: 'replace',
      skip: 'keep',
      fail: 'fail',
      'keep-both': 'none as file.restored',
      delta: 'update',
    },
  ],
  [
    'symlink',
    'file',
    {
      overwrite: 'replace',
      skip: 'keep',
      fail: 'fail',
      'keep-both': 'none as file.restored',
      delta: 'replace',
    },
  ],
  [
    'file',
    'symlink',
    {
      overwrite: 'replace',
      skip: 'keep',
      fail: 'fail',
      'keep-both': 'none as symlink.restored',
      delta: 'replace',
    },
  ],
  [
    'file',
    'directory',
    {
      overwrite: 'refuse',
      skip: 'keep',
      fail: 'fail',
      'keep-both': 'none as directory.restored',
      delta: 'refuse',
    },
  ],
];

function all(outcomeOfAll: string): Record<Conflict, string> {
  return {
    overwrite: outcomeOfAll,
    skip: outcomeOfAll,
    fail: outcomeOfAll,
    'keep-both': outcomeOfAll,
    delta: outcomeOfAll,
  };
}

for (const [type, there, outcomes] of TABLE) {
  for (const conflict of CONFLICTS) {
    test(`a ${type} that meets ${there} with ${conflict}: ${outcomes[conflict]}`, () => {
      assert.equal(outcome(type, there, conflict), outcomes[conflict]);
    });
  }
}

test('a folder takes the place of a link only when told to overwrite', () => {
  symlinkSync('nowhere', join(folder, 'place'));
  assert.equal(outcome('directory', 'place', 'skip'), 'refuse');
  assert.ok(lstatSync(join(folder, 'place')).isSymbolicLink());
  assert.equal(outcome('directory', 'place', 'overwrite'), 'replace');
  assert.ok(lstatSync(join(folder, 'place')).isSymbolicLink(), 'until something is in the folder');
});

test('names that are kept beside each other are numbered, and stay within 255 bytes', () => {
  writeFileSync(join(folder, 'file.restored'), '');
  writeFileSync(join(folder, 'file.restored-2'), '');
  assert.equal(outcome('file', 'file', 'keep-both'), 'none as file.restored-3');
  const long = 'x'.repeat(255);
  writeFileSync(join(folder, long), '');
  assert.equal(outcome('file', long, 'keep-both'), `none as ${'x'.repeat(246)}.restored`);
});
