import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ErrorCode, isCofferError } from '@coffer/base';
import { latestPoint, resolvePoint } from './point-name.ts';
import type { RecoveryPoint } from './recovery-point.ts';

function pointOf(id: string, item: string, takenAt: string): RecoveryPoint {
  return {
    id: id.padEnd(32, '0'),
    item,
    kind: 'files',
    takenAt: Date.parse(takenAt),
    roots: [],
    tags: {},
    manifest: '',
    mac: '',
    generation: 0,
    held: false,
    deletion: undefined,
  };
}

const POINTS = [
  pointOf('aaaa1', 'home', '2026-11-19T10:00:00Z'),
  pointOf('aaaa2', 'home', '2026-11-20T10:00:30Z'),
  pointOf('bbbb1', 'user@home', '2026-11-20T10:00:00.500Z'),
  pointOf('cccc1', 'home', '2026-11-21T00:00:00Z'),
];

const NOW = Date.parse('2026-11-22T00:00:00Z');

const FOUND: readonly [name: string, id: string][] = [
  ['bbbb', 'bbbb1'],
  ['aaaa2', 'aaaa2'],
  ['aaaa1'.padEnd(32, '0'), 'aaaa1'],
  ['home@latest', 'cccc1'],
  ['user@home@latest', 'bbbb1'],
  ['home@2026-11-20T10:00Z', 'aaaa2'],
  ['home@2026-11-20T10:00:30Z', 'aaaa2'],
  ['home@2026-11-20T10:00:29Z', 'aaaa1'],
  ['home@2026-11-20T10:00:30.000Z', 'aaaa2'],
  ['user@home@2026-11-20T10:00:00Z', 'bbbb1'],
  ['home@2026-11-20T11:00+01:00', 'aaaa2'],
];

for (const [name, id] of FOUND) {
  test(`${name} names a point`, () => {
    assert.equal(resolvePoint(POINTS, name, NOW).id, id.padEnd(32, '0'));
  });
}

const REFUSED: readonly [name: string, code: ErrorCode][] = [
  ['aaa', 'point-not-found'],
  ['aaaa', 'point-ambiguous'],
  ['dddd', 'point-not-found'],
  ['AAAA2', 'point-not-found'],
  ['', 'point-not-found'],
  ['@latest', 'point-not-found'],
  ['nobody@latest', 'item-not-found'],
  ['home@yesterday', 'usage'],
  ['home@2026-13-40', 'usage'],
  ['home@', 'usage'],
  ['home@2026-11-19T09:59Z', 'point-not-found'],
];

for (const [name, code] of REFUSED) {
  test(`'${name}' is refused with ${code}`, () => {
    assert.throws(
      () => resolvePoint(POINTS, name, NOW),
      (error) => isCofferError(error, code),
    );
  });
}

test('a date alone means the whole day, where the user is', () => {
  const noon = new Date(2026, 10, 20, 23, 59, 59, 999).toISOString();
  const next = new Date(2026, 10, 21).toISOString();
  const points = [pointOf('aaaa', 'item', noon), pointOf('bbbb', 'item', next)];
  assert.equal(resolvePoint(points, 'item@2026-11-20', NOW).id, 'aaaa'.padEnd(32, '0'));
});

test('the newest point of an item is found, whatever the order', () => {
  assert.equal(latestPoint(POINTS.toReversed(), 'home', NOW)?.id, 'cccc1'.padEnd(32, '0'));
  assert.equal(latestPoint(POINTS, 'nobody', NOW), undefined);
});

test('the latest point is none from the future, unless there is no other', () => {
  const ahead = pointOf('dddd1', 'home', '2036-11-20T10:00:00Z');
  const minutesAhead = pointOf('eeee1', 'home', '2026-11-22T00:05:00Z');
  assert.equal(latestPoint([...POINTS, ahead], 'home', NOW)?.id, 'cccc1'.padEnd(32, '0'));
  assert.equal(resolvePoint([...POINTS, ahead], 'home@latest', NOW).id, 'cccc1'.padEnd(32, '0'));
  assert.equal(resolvePoint([...POINTS, ahead], 'home@2036-12-01', NOW).id, ahead.id);
  assert.equal(latestPoint([ahead], 'home', NOW)?.id, ahead.id);
  assert.equal(latestPoint([...POINTS, minutesAhead], 'home', NOW)?.id, minutesAhead.id);
});
