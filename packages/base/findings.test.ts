import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CofferError } from './errors.ts';
import { damageIn, findingOf, severityOf, titleOf } from './findings.ts';

const SUBJECT = { kind: 'path', name: 'a' } as const;

test('an error that happened to one thing is a loss of it, with what the error knows', () => {
  const finding = findingOf(new CofferError('chunk-missing', { chunk: 'ab' }), SUBJECT);
  assert.deepEqual(finding, { code: 'chunk-missing', subject: SUBJECT, details: { chunk: 'ab' } });
  assert.equal(severityOf(finding), 'loss');
  assert.equal(damageIn(finding), 'chunk-missing');
});

test('what is told for knowledge only is no loss, and no damage', () => {
  assert.equal(severityOf({ code: 'disk-untouched' }), 'note');
  assert.equal(severityOf({ code: 'mode-not-restored' }), 'warning');
  assert.equal(severityOf({ code: 'unreadable' }), 'loss');
  assert.equal(damageIn({ code: 'unreadable', subject: SUBJECT, details: {} }), undefined);
});

test('a code of a newer program is shown as it is', () => {
  assert.equal(titleOf('from-the-future'), 'from-the-future');
  assert.notEqual(titleOf('changed'), 'changed');
  assert.notEqual(titleOf('chunk-damaged'), 'chunk-damaged');
});
