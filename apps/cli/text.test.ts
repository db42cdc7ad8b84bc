// What is shown, and how what people write is understood.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { modeText } from './commands/ls.ts';
import { formatBytes, formatDuration, isoTimeOfNs } from './output.ts';
import { splitPointPath } from './point-path.ts';
import { printable, shownPath } from './printable.ts';
import { normalizeArguments } from './run.ts';

test('a point and a path are told apart', () => {
  const cases: [text: string, name: string, path: string][] = [
    ['3f2a91', '3f2a91', ''],
    ['3f2a91:docs/a:b', '3f2a91', 'docs/a:b'],
    ['web01@latest', 'web01@latest', ''],
    ['web01@latest:etc', 'web01@latest', 'etc'],
    ['host:/home@latest:a', 'host:/home@latest', 'a'],
    ['i@2026-11-20', 'i@2026-11-20', ''],
    ['3f2a91:mail/user@example.org/a:b', '3f2a91', 'mail/user@example.org/a:b'],
    ['i@latest:mail/user@example.org:x', 'i@latest', 'mail/user@example.org:x'],
    ['cafe:/home@latest:a@latest:b', 'cafe:/home@latest', 'a@latest:b'],
    ['i@yesterday', 'i@yesterday', ''],
    ['a@b:c@latest', 'a@b:c@latest', ''],
    ['i@2026-11-20:docs', 'i@2026-11-20', 'docs'],
    ['i@2026-11-20T10:00', 'i@2026-11-20T10:00', ''],
    ['i@2026-11-20T10:00:docs', 'i@2026-11-20T10:00', 'docs'],
    ['i@2026-11-20T10:00:30Z:docs', 'i@2026-11-20T10:00:30Z', 'docs'],
    ['i@2026-11-20T10:00+02:00:docs', 'i@2026-11-20T10:00+02:00', 'docs'],
  ];
  for (const [text, name, path] of cases) {
    const expected = { name, disk: undefined, volume: undefined, path };
    assert.deepEqual(splitPointPath(text), expected);
  }
});

test('a disk and a volume are told from the item and the path', () => {
  const cases: [text: string, place: (string | undefined)[]][] = [
    ['3f2a91/disk', ['3f2a91', 'disk', undefined, '']],
    ['web01@latest/vda/p1', ['web01@latest', 'vda', 'p1', '']],
    ['web01@latest/vda/p1:etc/a:b', ['web01@latest', 'vda', 'p1', 'etc/a:b']],
    ['h:/i/web01@2026-11-20T10:00/vda', ['h:/i/web01@2026-11-20T10:00', 'vda', undefined, '']],
    ['i@latest:a/b@latest/c', ['i@latest', undefined, undefined, 'a/b@latest/c']],
  ];
  for (const [text, [name, disk, volume, path]] of cases) {
    assert.deepEqual(splitPointPath(text), { name, disk, volume, path });
  }
});

test('modes are shown as ls shows them', () => {
  assert.equal(modeText('file', 0o644), '-rw-r--r--');
  assert.equal(modeText('directory', 0o1777), 'drwxrwxrwt');
  assert.equal(modeText('file', 0o6754), '-rwsr-sr--');
  assert.equal(modeText('file', 0o7000), '---S--S--T');
  assert.equal(modeText('block-device', 0), 'b---------');
});

test('amounts and times are shown in units that people read', () => {
  assert.deepEqual([0, 1023, 1024, 10 * 1024 ** 2, 1536 * 1024 ** 3].map(formatBytes), [
    '0 B',
    '1023 B',
    '1.00 KiB',
    '10.0 MiB',
    '1.50 TiB',
  ]);
  assert.deepEqual([150, 61_000, 7_320_000].map(formatDuration), [
    '0.1 s',
    '1 min 1 s',
    '2 h 2 min',
  ]);
  assert.equal(isoTimeOfNs(1_234_567_890_000_000_001n), '2009-02-13T23:31:30.000000001Z');
  assert.equal(isoTimeOfNs(-1n), '1969-12-31T23:59:59.999999999Z');
  assert.equal(isoTimeOfNs(2n ** 63n - 1n), '2262-04-11T23:47:16.854775807Z');
});

test('nothing that is shown drives the terminal', () => {
  assert.equal(printable('a\x1b[31m\r\n\u009b\u202eb'), 'a\ufffd[31m\ufffd\ufffd\ufffd\ufffdb');
  assert.equal(printable('ünïcode ✓'), 'ünïcode ✓');
});

test('the value of --read-data stands behind an equals sign only', () => {
  const words = ['verify', '--read-data', 'point', '--', '--read-data'];
  assert.deepEqual(normalizeArguments(words), [
    'verify',
    '--read-data=100',
    'point',
    '--',
    '--read-data',
  ]);
  assert.deepEqual(normalizeArguments(['--read-data=10']), ['--read-data=10']);
});

test('of a path that nobody reads to its end, both ends are shown', () => {
  const path = `start/${'d/'.repeat(20_000)}end\n`;
  assert.match(shownPath(path), /^start\/[d/]+…[d/]+\/end\ufffd$/);
  assert.equal(shownPath(path).length, 801);
  assert.equal(shownPath('short/path'), 'short/path');
  assert.ok(shownPath(`x${'😀'.repeat(1000)}`).isWellFormed());
});
