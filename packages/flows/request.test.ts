import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import type { GenericSchema } from 'valibot';
import { BackupRequest, BootTestRequest, parseRequest, RestoreRequest } from './request.ts';

test('what is not said has the same default for everybody', () => {
  assert.deepEqual(parseRequest(RestoreRequest, { kind: 'path', point: 'a', target: '/t' }), {
    kind: 'path',
    point: 'a',
    path: '',
    target: '/t',
    privileges: false,
    include: [],
    dryRun: false,
    verify: false,
  });
  const machines = parseRequest(BackupRequest, { kind: 'machines', names: ['web'] });
  assert.ok(machines.kind === 'machines');
  assert.deepEqual(
    [machines.connect, machines.consistency, machines.waitMs, machines.scratchBytesMax],
    ['qemu:///system', 'best', 300_000, Infinity],
  );
});

test('what is wrong is refused with the field that it is in', () => {
  const machine = { kind: 'machine-as-new', point: 'a', name: 'b', place: { folder: '/f' } };
  const cases: readonly [GenericSchema, unknown, field: string][] = [
    [RestoreRequest, { kind: 'path', point: 'a', target: 'relative' }, 'target'],
    [RestoreRequest, { kind: 'path', point: '', target: '/t' }, 'point'],
    [RestoreRequest, { kind: 'path', point: 'a', target: '/t', conflict: 'x' }, 'conflict'],
    [RestoreRequest, { kind: 'path', point: 'a', target: '/t', inlcude: [] }, 'inlcude'],
    [RestoreRequest, { kind: 'everything' }, 'kind'],
    [RestoreRequest, { ...machine, place: { folder: '/f', pool: 'p' } }, 'place'],
    [RestoreRequest, { ...machine, afterwards: 'fly' }, 'afterwards'],
    [BackupRequest, { kind: 'machines', names: [] }, 'names'],
    [BackupRequest, { kind: 'machines', names: ['a', 'b'], item: 'i' }, 'item'],
    [
      BackupRequest,
      { kind: 'machines', names: ['a'], memory: true, consistency: 'crash' },
      'memory',
    ],
    [BackupRequest, { kind: 'files', path: '/p', tags: { a: 1 } }, 'tags.a'],
    [BootTestRequest, { point: 'a', timeoutMs: -1 }, 'timeoutMs'],
  ];
  for (const [schema, given, field] of cases) {
    assert.throws(
      () => parseRequest(schema, given),
      (error) => isCofferError(error, 'usage') && error.details['field'] === field,
      `${field} of ${JSON.stringify(given)}`,
    );
  }
});
