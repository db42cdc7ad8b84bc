import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CofferError, type ErrorCode, ERRORS } from '@coffer/base';
import { exitCodeOf, remedyOf } from './failures.ts';

const CODES = Object.keys(ERRORS) as ErrorCode[];
const EXIT_CODES = new Set([1, 2, 130]);

for (const code of CODES) {
  test(`of the error ${code} it is said what to do`, () => {
    assert.match(remedyOf(new CofferError(code)), /^[A-Z].*\.$/);
    const exitCode = exitCodeOf(code);
    assert.ok(EXIT_CODES.has(exitCode) || (exitCode >= 10 && exitCode < 64));
  });
}

test('codes that share an exit code are of one kind', () => {
  const kinds = Map.groupBy(CODES, exitCodeOf);
  const kindsOf = (exitCode: number): string[] => [
    ...new Set((kinds.get(exitCode) ?? []).map((code) => code.split('-')[0]!).toSorted()),
  ];
  assert.deepEqual(kindsOf(11), ['passphrase', 'volume']);
  const sources = ['agent', 'consistency', 'image', 'libvirt', 'memory', 'nbd', 'source', 'vm'];
  assert.deepEqual(kindsOf(14), sources);
  assert.deepEqual(kindsOf(15), ['mount', 'target', 'undo', 'vm']);
});

test('what is in the way of a machine says what else can be done', () => {
  const told = (kinds: string | undefined): string =>
    remedyOf(new CofferError('target-unfit', { reasons: 'x', kinds }));
  assert.equal(told(undefined), 'What is missing is listed.');
  assert.equal(told('architecture'), 'What is missing is listed.');
  assert.match(told('network, disk'), /listed; .* --network NAME=OTHER; .* --as, .* --to\.$/);
  assert.match(told('disk-in-place'), /; leave --delta out\.$/);
});
