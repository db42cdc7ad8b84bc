import assert from 'node:assert/strict';
import { test } from 'node:test';
import { secretOf, takeSecrets } from './secrets.ts';

test('secrets are taken out of the environment, and known afterwards', () => {
  const environment: NodeJS.ProcessEnv = {
    COFFER_PASSPHRASE: 'one',
    COFFER_TO_PASSPHRASE: '',
    COFFER_REPO: 'kept',
  };
  takeSecrets(environment);
  assert.deepEqual(environment, { COFFER_REPO: 'kept' });
  assert.equal(secretOf('COFFER_PASSPHRASE'), 'one');
  assert.equal(secretOf('COFFER_TO_PASSPHRASE'), undefined, 'an empty one is none');
  assert.equal(secretOf('COFFER_NEW_PASSPHRASE'), undefined);
});
