// ls, cat, find, diff, items and points.
import assert from 'node:assert/strict';
import { chmodSync, rmSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { seededRandom } from '@coffer/base';
import { type Backup, Sandbox } from './testing/sandbox.ts';

const MIB = 1024 * 1024;

interface Listed {
  readonly path: string;
  readonly type: string;
  readonly mode: string;
  readonly sizeBytes: number;
  readonly modifiedAt: string;
  readonly linkTarget?: string;
  readonly pathBase64?: string;
}

async function protect(sandbox: Sandbox, source: string, item = 'i'): Promise<string> {
  return (await sandbox.json<Backup>(['backup', source, '--item', item])).point;
}

test('ls shows what is there, and nothing that drives the terminal', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ 'a/b/c': 'text', 'esc\x1b[31m': '', top: '12345' });
  symlinkSync('a/b', join(source, 'link'));
  chmodSync(join(source, 'top'), 0o4750);
  utimesSync(join(source, 'top'), 1_700_000_000, 1_700_000_000.5);
  writeFileSync(Buffer.concat([Buffer.from(`${source}/`), Buffer.from([0xff, 0x61])]), '');
  const point = await protect(sandbox, source);
  const top = await sandbox.json<Listed[]>(['ls', point]);
  assert.deepEqual(
    top.map(({ path, type }) => `${type} ${path}`),
    ['directory a', 'file esc\x1b[31m', 'symlink link', 'file top', 'file \ufffda'],
  );
  assert.equal(top[4]?.pathBase64, Buffer.from([0xff, 0x61]).toString('base64'));
  assert.equal(top[2]?.linkTarget, 'a/b');
  assert.deepEqual(
    [top[3]?.mode, top[3]?.sizeBytes, top[3]?.modifiedAt],
    ['4750', 5, '2023-11-14T22:13:20.500000000Z'],
  );
  const below = await sandbox.json<Listed[]>(['ls', `${point}:a`, '--recursive']);
  assert.deepEqual(
    below.map(({ path }) => path),
    ['a/b', 'a/b/c'],
  );
  const one = await sandbox.json<Listed[]>(['ls', `${point}:a/b/c`]);
  assert.deepEqual(
    one.map(({ path }) => path),
    ['a/b/c'],
  );
  const text = await sandbox.done('ls', point);
  assert.match(text, /^-rwsr-x--- +0 +0 +5 2023-11-14 22:13:20 top$/m);
  assert.match(text, /^l.* link -> a\/b$/m);
  // oxlint-disable-next-line no-control-regex -- that is what is looked for
  assert.doesNotMatch(text, /\u001b/);
  await sandbox.fails(['ls', `${point}:nothing`], 'path-not-found', 12);
});

test('cat gives the bytes of every kind of file', async () => {
  using sandbox = await Sandbox.withRepository();
  const big = seededRandom(5).bytes(30 * MIB + 1);
  const source = sandbox.source({ small: 'small', empty: '', big, 'd/x': 'x' });
  writeFileSync(join(source, 'sparse'), 'begin');
  truncateSync(join(source, 'sparse'), 11 * MIB);
  const point = await protect(sandbox, source);
  const cat = async (path: string): Promise<Buffer> => {
    const { code, stdout, stderr } = await sandbox.run(['cat', `${point}:${path}`]);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  assert.equal((await cat('small')).toString(), 'small');
  assert.equal((await cat('empty')).length, 0);
  assert.ok((await cat('big')).equals(big));
  const sparse = await cat('sparse');
  assert.deepEqual([sparse.length, sparse.toString('latin1', 0, 6)], [11 * MIB, 'begin\0']);
  for (const path of ['d', '', 'none']) {
    const { code, stdout, stderr } = await sandbox.run(['cat', `${point}:${path}`]);
    assert.deepEqual([code, stdout.length], [12, 0]);
    assert.match(stderr, /There is no such path/);
  }
  await sandbox.fails(['cat', `${point}:small`], 'usage', 2);
});

test('find looks in all points, and tells each', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({ 'docs/a.odt': 'a', 'docs/b.txt': 'b', '.hidden/c.odt': 'c' });
  const first = await protect(sandbox, source);
  rmSync(join(source, 'docs/a.odt'));
  const second = await protect(sandbox, source);
  const other = await protect(sandbox, source, 'other');
  const find = async (...words: string[]): Promise<string[]> => {
    const found = await sandbox.json<{ point: string; path: string }[]>(['find', ...words]);
    return found.map(({ point, path }) => `${[first, second, other].indexOf(point)} ${path}`);
  };
  const hidden = '.hidden/c.odt';
  const all = [`0 ${hidden}`, '0 docs/a.odt', `1 ${hidden}`, `2 ${hidden}`];
  assert.deepEqual(await find('*.odt'), all);
  assert.deepEqual(await find('*.odt', '--item', 'other'), [`2 ${hidden}`]);
  assert.deepEqual(await find('/docs/*', '--item', 'i'), [
    '0 docs/a.odt',
    '0 docs/b.txt',
    '1 docs/b.txt',
  ]);
  assert.deepEqual(await find('docs/', '--item', 'other'), ['2 docs']);
  assert.deepEqual(await find('nothing'), []);
  assert.match(await sandbox.done('find', 'a.odt'), /^[0-9a-f]{12} {2}.* 1 B {2}docs\/a\.odt$/m);
  await sandbox.fails(['find', 'x', '--item', 'nobody'], 'item-not-found', 12);
});

test('diff tells what was added, removed and modified', async () => {
  using sandbox = await Sandbox.withRepository();
  const source = sandbox.source({
    'same/a': 'a',
    'd/changed': 'before',
    'd/touched': 'touched',
    'gone/inside': 'x',
    kind: 'a file',
  });
  const first = await protect(sandbox, source);
  writeFileSync(join(source, 'd/changed'), 'after!');
  chmodSync(join(source, 'd/touched'), 0o600);
  rmSync(join(source, 'gone'), { recursive: true });
  rmSync(join(source, 'kind'));
  sandbox.source({ 'kind/now a folder': '1', 'new/deep/file': '2' });
  const second = await protect(sandbox, source);
  const diff = async (a: string, b: string): Promise<string[]> => {
    const found = await sandbox.json<{ path: string; change: string }[]>(['diff', a, b]);
    return found.map(({ path, change }) => `${change} ${path}`);
  };
  assert.deepEqual(await diff(first, second), [
    'modified d/changed',
    'metadata d/touched',
    'removed gone',
    'removed gone/inside',
    'removed kind',
    'added kind',
    'added kind/now a folder',
    'added new',
    'added new/deep',
    'added new/deep/file',
  ]);
  assert.deepEqual(await diff(second, second), []);
  assert.match(
    await sandbox.done('diff', first, second),
    /^M d\/changed\nm d\/touched\nR gone\/$/m,
  );
  writeFileSync(sandbox.path('image'), 'a disk');
  await sandbox.done('backup', '--disk', sandbox.path('image'), '--item', 'disk');
  await sandbox.fails(['diff', first, 'disk@latest'], 'kind-mismatch', 12);
});

test('points and items are listed, and points have many names', async () => {
  using sandbox = await Sandbox.withRepository();
  assert.deepEqual(await sandbox.json(['points']), []);
  const source = sandbox.source({ a: '1' });
  const words = [
    'backup',
    source,
    '--item',
    'with@sign:and colon',
    '--tag',
    'plan=daily',
    '--tag',
    'x=y=z',
  ];
  const made = await sandbox.json<Backup>(words);
  const later = await sandbox.json<Backup>(['backup', source, '--item', 'other']);
  const points = await sandbox.json<Record<string, unknown>[]>(['points']);
  assert.deepEqual(points[0], {
    point: made.point,
    item: 'with@sign:and colon',
    kind: 'files',
    takenAt: made.takenAt,
    bytesSource: 1,
    tags: { plan: 'daily', x: 'y=z' },
    held: false,
    holds: [],
  });
  const ofOther = await sandbox.json<{ point: string }[]>(['points', '--item', 'other']);
  assert.deepEqual(
    ofOther.map(({ point }) => point),
    [later.point],
  );
  await sandbox.fails(['points', '--item', 'nope'], 'item-not-found', 12);
  await sandbox.fails(['points', '--deleted', '--item', 'nope', '--json'], 'item-not-found', 12);
  assert.deepEqual(await sandbox.json(['points', '--deleted', '--item', 'other']), []);
  const items = await sandbox.json<{ item: string; points: number }[]>(['items']);
  assert.deepEqual(items.map(({ item, points }) => `${points} ${item}`).sort(), [
    '1 other',
    '1 with@sign:and colon',
  ]);
  const minute = made.takenAt.slice(0, 16);
  for (const name of [made.point, made.point.slice(0, 8), `with@sign:and colon@latest`]) {
    assert.equal((await sandbox.run(['cat', `${name}:a`])).stdout.toString(), '1', name);
  }
  const timed = await sandbox.run(['cat', `with@sign:and colon@${minute}:a`]);
  assert.equal(timed.stdout.toString(), '1', timed.stderr);
  assert.match(await sandbox.done('points'), /plan=daily x=y=z/);
});
