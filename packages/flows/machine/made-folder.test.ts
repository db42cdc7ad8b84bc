import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { MadeFolder } from './made-folder.ts';
import { fileMisfits } from './machine-files.ts';

const base = mkdtempSync(join(tmpdir(), 'coffer-made-folder-'));
after(() => rmSync(base, { recursive: true }));

function made(path: string, use: (folder: MadeFolder) => void = () => {}): void {
  using folder = new MadeFolder(path);
  use(folder);
}

test('a folder that was made goes when nothing came of it', () => {
  const path = join(base, 'new');
  made(path);
  assert.ok(!existsSync(path));
  made(path, () => writeFileSync(join(path, 'of somebody'), ''));
  assert.ok(existsSync(join(path, 'of somebody')));
  made(base);
  assert.ok(existsSync(base), 'it was there before');
});

test('a folder that is kept can be entered as the one that it is in, whatever files are made as', () => {
  const [parent, path] = [base, join(base, 'kept')];
  chmodSync(parent, 0o1777);
  const umask = process.umask(0o077);
  try {
    made(path, (folder) => folder.keep());
  } finally {
    process.umask(umask);
  }
  assert.equal(statSync(path).mode & 0o777, 0o755);
});

test('a folder that cannot be made is a failure of the target', () => {
  const link = join(base, 'to nowhere');
  symlinkSync(join(base, 'nowhere', 'below'), link);
  for (const path of [link, '/proc/new']) {
    assert.throws(() => made(path), { code: 'target-unwritable' });
  }
});

test('a folder is made in one that is there, and in no other', () => {
  const misfits = (folder: string): string[] => fileMisfits([], { folder, bytesNeeded: 0 });
  assert.deepEqual(misfits(join(base, 'not yet')), []);
  assert.match(misfits(join(base, 'not yet', 'below')).join(), /there is no folder .*not yet$/);
  writeFileSync(join(base, 'file'), '');
  assert.match(misfits(join(base, 'file')).join(), /it is no folder/);
  assert.match(misfits(join(base, 'file', 'below')).join(), /it is no folder/);
});
