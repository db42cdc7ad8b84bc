import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRequest, RestoreRequest } from '@coffer/flows/request.ts';
import { backupRequestOf, type BackupCommandOptions } from './commands/backup.ts';
import { machinesRequestOf } from './commands/backup-machines.ts';
import { restoreRequestOf, type RestoreCommandOptions } from './commands/restore.ts';

const RESTORE: RestoreCommandOptions = { connect: 'test:', disk: [], network: [], include: [] };
const BACKUP: BackupCommandOptions = {
  connect: 'test:',
  consistency: 'best',
  excludeDisk: [],
  wait: '300',
  tag: [],
  exclude: [],
};

test('flags and JSON mean the same request', () => {
  const flags = { ...RESTORE, as: 'copy', pool: 'default', start: true, network: ['a=b'] };
  const json = `{ "kind": "machine-as-new", "point": "vm:web@latest", "connect": "test:",
    "name": "copy", "place": { "pool": "default" }, "networks": { "a": "b" },
    "afterwards": "start" }`;
  assert.deepEqual(
    restoreRequestOf('vm:web@latest', flags),
    parseRequest(RestoreRequest, JSON.parse(json)),
  );
});

test('a restore is of the kind that its flags say', () => {
  const kindOf = (more: Partial<RestoreCommandOptions>): string =>
    restoreRequestOf('vm:web@latest', { ...RESTORE, ...more }).kind;
  assert.equal(kindOf({ to: '/t' }), 'path');
  assert.equal(kindOf({ to: '/t', disks: true }), 'disks');
  assert.equal(kindOf({ to: '/t', disk: ['vda'] }), 'disks');
  assert.equal(kindOf({ as: 'a', folder: '/f' }), 'machine-as-new');
  assert.equal(kindOf({ original: true, delta: true }), 'machine-in-place');
  assert.equal(kindOf({ instant: true, as: 'a', pool: 'p' }), 'machine-instant');
});

test('flags that exclude each other are refused', () => {
  const wrong: readonly Partial<RestoreCommandOptions>[] = [
    {},
    { to: '/t', resume: true },
    { as: 'a', original: true, folder: '/f' },
    { as: 'a' },
    { as: 'a', folder: '/f', pool: 'p' },
    { as: 'a', folder: '/f', start: true, resume: true },
    { as: 'a', folder: '/f', dryRun: true },
    { as: 'a', folder: '/f', network: ['ab'] },
    { instant: true, folder: '/f' },
    { instant: true, as: 'a', folder: '/f', resume: true },
    { to: '/t', delta: true, onConflict: 'skip' },
    { to: '/t', format: 'floppy' },
  ];
  for (const more of wrong) {
    assert.throws(() => restoreRequestOf('p', { ...RESTORE, ...more }), { code: 'usage' });
  }
});

test('a place in a point is a part of the request', () => {
  const request = restoreRequestOf('web@latest/disk/p1:etc', { ...RESTORE, to: '/t' });
  assert.ok(request.kind === 'path');
  const { point, disk, volume, path } = request;
  assert.deepEqual([point, disk, volume, path], ['web@latest', 'disk', 'p1', 'etc']);
});

test('backups are parsed from flags alike', () => {
  const files = backupRequestOf('/home', { ...BACKUP, tag: ['a=b'], exclude: ['*.tmp'] });
  assert.deepEqual([files.kind, files.tags], ['files', { a: 'b' }]);
  assert.equal(backupRequestOf('/d.raw', { ...BACKUP, disk: true, format: 'raw' }).kind, 'disk');
  assert.throws(() => backupRequestOf('/d.raw', { ...BACKUP, format: 'raw' }), { code: 'usage' });
  const options = { ...BACKUP, consistency: 'app', scratchLimit: '1G' };
  const machines = machinesRequestOf(['vm:a', 'vm:b'], options, { checks: true });
  assert.deepEqual(
    [machines.names, machines.consistency, machines.scratchBytesMax, machines.checks],
    [['a', 'b'], 'application', 1024 ** 3, true],
  );
});
