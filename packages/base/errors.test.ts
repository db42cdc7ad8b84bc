import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CofferError, type ErrorCode, ERRORS, isCofferError, systemErrorCode } from './errors.ts';

const CODES = Object.keys(ERRORS) as ErrorCode[];
const EXIT_CODES = new Set([1, 2, 130]);

for (const code of CODES) {
  test(`the error ${code} says what is wrong and what to do`, () => {
    const { title, help, exitCode, httpStatus, retry } = ERRORS[code];
    assert.match(code, /^[a-z]+(-[a-z]+)*$/);
    assert.match(title, /^[A-Z].*[^.]$/);
    assert.match(help, /^[A-Z].*\.$/);
    assert.ok(EXIT_CODES.has(exitCode) || (exitCode >= 10 && exitCode < 64));
    assert.ok(httpStatus >= 400 && httpStatus < 600);
    assert.ok(retry === 'never' || retry === 'later');
  });
}

test('codes that share an exit code are of one kind', () => {
  const kinds = new Map<number, Set<string>>();
  for (const code of CODES) {
    const { exitCode } = ERRORS[code];
    const kind = code.split('-')[0]!;
    kinds.set(exitCode, (kinds.get(exitCode) ?? new Set()).add(kind));
  }
  const kindsOf = (exitCode: number): string[] => [...(kinds.get(exitCode) ?? [])].sort();
  assert.deepEqual(kindsOf(11), ['passphrase', 'volume']);
  const sources = ['agent', 'consistency', 'image', 'libvirt', 'memory', 'nbd', 'source', 'vm'];
  assert.deepEqual(kindsOf(14), sources);
  assert.deepEqual(kindsOf(15), ['mount', 'target', 'undo', 'vm']);
});

test('an error tells its details and keeps its cause', () => {
  const cause = new Error('below');
  const error = new CofferError('point-not-found', { point: 'abcd', item: undefined }, cause);
  assert.equal(error.message, 'There is no such recovery point (point: abcd)');
  assert.equal(error.cause, cause);
  assert.equal(error.row, ERRORS['point-not-found']);
  assert.ok(isCofferError(error));
  assert.ok(isCofferError(error, 'point-not-found'));
  assert.ok(!isCofferError(error, 'point-held'));
  assert.ok(!isCofferError(cause));
});

test('codes of system calls are told, and nothing else is', () => {
  assert.equal(systemErrorCode(Object.assign(new Error('x'), { code: 'ENOENT' })), 'ENOENT');
  assert.equal(systemErrorCode(Object.assign(new Error('x'), { code: 5 })), undefined);
  assert.equal(systemErrorCode(new Error('x')), undefined);
  assert.equal(systemErrorCode({ code: 'ENOENT' }), undefined);
});
