import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { canEnter } from './qemu-user.ts';

const base = mkdtempSync(join(tmpdir(), 'coffer-qemu-user-'));
after(() => rmSync(base, { recursive: true }));
chmodSync(base, 0o755);

const NOBODY = { userId: 65_534, groupId: 65_534 };

test('a folder counts as entered only when all above it can be', async () => {
  const [closed, below] = [join(base, 'closed'), join(base, 'closed/below')];
  mkdirSync(below, { recursive: true });
  assert.equal(await canEnter(NOBODY, below), true);
  assert.equal(await canEnter(NOBODY, join(below, 'not yet')), true);
  chmodSync(closed, 0o700);
  for (const path of [closed, below, join(closed, 'not yet')]) {
    assert.equal(await canEnter(NOBODY, path), false, path);
  }
  assert.equal(await canEnter({ userId: 0, groupId: 0 }, below), true);
  assert.equal(await canEnter(undefined, below), true, 'QEMU runs as we do');
});

test('an access control list that lets a user in counts, and a user without a name has one, too', async () => {
  const listed = join(base, 'listed');
  mkdirSync(listed, { mode: 0o700 });
  const unnamed = { userId: 64_999, groupId: 64_999 };
  assert.equal(await canEnter(unnamed, listed), false);
  execFileSync('setfacl', ['-m', `u:${unnamed.userId}:x`, listed]);
  assert.equal(await canEnter(unnamed, listed), true);
  assert.equal(await canEnter(NOBODY, listed), false);
});
