import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CofferError, type ErrorCode, ERRORS, isCofferError, systemErrorCode } from './errors.ts';

for (const code of Object.keys(ERRORS) as ErrorCode[]) {
  test(`the error ${code} says what is wrong`, () => {
    const { title, httpStatus, retry } = ERRORS[code];
    assert.match(code, /^[a-z]+(-[a-z]+)*$/);
    assert.match(title, /^[A-Z].*[^.]$/);
    assert.doesNotMatch(title, / --[a-z]|`/, 'what can be done, each app says');
    assert.ok(httpStatus >= 400 && httpStatus < 600);
    assert.ok(retry === 'never' || retry === 'later');
  });
}

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
