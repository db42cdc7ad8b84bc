import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digest, isCofferError, seededRandom } from '@coffer/base';
import { encodeRecord } from './record.ts';
import {
  checkPointLabels,
  decodePoint,
  encodePoint,
  encodePointAgain,
  openManifest,
  parsePointObjectName,
  type PointHeader,
  pointObjectName,
  type PointRecord,
  type PointRoot,
} from './recovery-point.ts';
import { generateKeyPair } from './sealed-box.ts';

const random = seededRandom(1);
const keys = { ...generateKeyPair(random), hashKey: random.bytes(32) };
const SEAL = { ...keys, random };
const MANIFEST = { host: 'host', path: '/home' };
const HEADER: PointHeader = {
  item: 'Häuser/1@home',
  kind: 'files',
  takenAt: 1_800_000_000_000,
  roots: [{ name: 'files', root: 'ab'.repeat(32), sizeBytes: 5 }],
  tags: { why: 'test' },
};
const isDamaged = (error: unknown): boolean => isCofferError(error, 'object-damaged');

test('header and manifest of a point read as they were written', () => {
  const { id, bytes } = encodePoint(HEADER, MANIFEST, SEAL);
  const point = decodePoint(id, bytes, keys.hashKey);
  const { manifest: _, mac: __, ...header } = point;
  assert.deepEqual(header, HEADER);
  assert.deepEqual(openManifest(point, keys), MANIFEST);
  assert.ok(!bytes.includes('/home'), 'the manifest is sealed');
});

test('a point under another id is damage', () => {
  const { bytes } = encodePoint(HEADER, MANIFEST, SEAL);
  assert.throws(() => decodePoint('00'.repeat(16), bytes), isDamaged);
});

/** The same record with another value, as someone without the hash key can write it. */
function forge(bytes: Buffer, changes: Partial<PointRecord>): { id: string; bytes: Buffer } {
  const text = bytes.toString('utf8').split('\n')[1]!;
  const forged = encodeRecord('point', { ...(JSON.parse(text) as PointRecord), ...changes });
  return { id: digest(forged).toString('hex', 0, 16), bytes: forged };
}

test('a point that nobody with the hash key made is damage, named with its item', () => {
  const { id, bytes } = encodePoint(HEADER, MANIFEST, SEAL);
  const [root] = HEADER.roots;
  const other = encodePoint({ ...HEADER, item: 'other' }, MANIFEST, SEAL);
  const { mac } = decodePoint(other.id, other.bytes);
  for (const changes of [
    { item: 'other' },
    { kind: 'disk' as const },
    { takenAt: HEADER.takenAt + 1 },
    { tags: {} },
    { roots: [{ ...root!, sizeBytes: 6 }] },
    { roots: [{ ...root!, root: 'cd'.repeat(32) }] },
    { manifest: decodePoint(other.id, other.bytes).manifest },
    { mac },
  ]) {
    const forged = forge(bytes, changes);
    assert.throws(
      () => decodePoint(forged.id, forged.bytes, keys.hashKey),
      (error) =>
        isCofferError(error, 'object-damaged') &&
        error.message.includes(forged.id) &&
        error.message.includes(changes.item ?? HEADER.item),
    );
    // Who has no key cannot tell.
    decodePoint(forged.id, forged.bytes);
  }
  assert.throws(() => decodePoint(id, bytes, random.bytes(32)), isDamaged);
});

test('a MAC that is not where it belongs is damage', () => {
  const { bytes } = encodePoint(HEADER, MANIFEST, SEAL);
  const { mac, ...rest } = JSON.parse(bytes.toString('utf8').split('\n')[1]!) as PointRecord;
  for (const value of [{ mac, ...rest }, { ...rest, mac, later: 1 }, { ...rest }]) {
    const moved = encodeRecord('point', value);
    const id = digest(moved).toString('hex', 0, 16);
    assert.throws(() => decodePoint(id, moved), isDamaged);
  }
});

test('a point of files has one root, disks have names of their own', () => {
  const root = (name: string): PointRoot => ({ name, root: 'ab'.repeat(32), sizeBytes: 5 });
  const check = (kind: PointHeader['kind'], names: readonly string[], isAllowed: boolean): void => {
    const header = { ...HEADER, kind, roots: names.map(root) };
    if (isAllowed) {
      const { id, bytes } = encodePoint(header, {}, SEAL);
      decodePoint(id, bytes, keys.hashKey);
      return;
    }
    assert.throws(() => encodePoint(header, {}, SEAL), { code: 'usage' }, names.join());
    // As somebody else may have written it.
    const bytes = encodeRecord('point', { ...header, manifest: 'AAAA', mac: '00'.repeat(32) });
    const id = digest(bytes).toString('hex').slice(0, 32);
    assert.throws(() => decodePoint(id, bytes), isDamaged, names.join());
  };
  check('files', ['files'], true);
  check('files', ['disk'], false);
  check('files', ['files', 'more'], false);
  check('disk', ['disk'], true);
  check('disk', ['sda', 'sdb', 'Data_2.vhdx', '..x'], true);
  check('disk', ['sda', 'sda'], false);
  for (const name of ['', '.', '..', 'a/b', 'a b', 'ä', '\0', 'a\n', 'x'.repeat(129)]) {
    check('disk', [name], false);
  }
  check('disk', [], false);
});

test('a manifest opens only with the header that it came with', () => {
  const { id, bytes } = encodePoint(HEADER, MANIFEST, SEAL);
  const point = decodePoint(id, bytes);
  const [root] = point.roots;
  for (const changed of [
    { ...point, item: 'other' },
    { ...point, kind: 'disk' as const },
    { ...point, takenAt: point.takenAt + 1 },
    { ...point, roots: [{ ...root!, sizeBytes: 6 }] },
    { ...point, roots: [{ ...root!, name: 'other' }] },
    { ...point, roots: [{ ...root!, root: 'cd'.repeat(32) }] },
  ]) {
    assert.throws(() => openManifest(changed, keys), isDamaged);
  }
});

test('a point that is sealed anew has another id and the same manifest', () => {
  const { id, bytes } = encodePoint(HEADER, MANIFEST, SEAL);
  const other = { ...generateKeyPair(random), hashKey: random.bytes(32) };
  const roots = [{ name: 'files', root: 'cd'.repeat(32), sizeBytes: 5 }];
  const seal = { ...other, random };
  const again = encodePointAgain({ id, ...decodePoint(id, bytes) }, roots, keys, seal);
  assert.notEqual(again.id, id);
  const point = decodePoint(again.id, again.bytes, other.hashKey);
  const { manifest: _, mac: __, ...header } = point;
  assert.deepEqual(header, { ...HEADER, roots, copyOf: id });
  assert.deepEqual(openManifest(point, other), MANIFEST);
});

test('names of objects tell generation and id, and nothing else is a point', () => {
  const id = '0123456789abcdef'.repeat(2);
  for (const generation of [0, 7, 99_999_999, 100_000_000]) {
    const name = pointObjectName('item', generation, id);
    assert.deepEqual(parsePointObjectName(name), { name, generation, id });
  }
  for (const name of ['points/x', `points/${id}/1-${id}`, `points/${id}/00000001-${id}x`]) {
    assert.equal(parsePointObjectName(name), undefined);
  }
});

test('what nobody could read again is refused', () => {
  const long = 'x'.repeat(1025);
  const tags = Object.fromEntries(Array.from({ length: 101 }, (_each, index) => [index, 'x']));
  for (const wrong of [{ item: long }, { item: '' }, { tags: { why: long } }, { tags }]) {
    assert.throws(() => encodePoint({ ...HEADER, ...wrong }, MANIFEST, SEAL), { code: 'usage' });
    assert.throws(() => checkPointLabels({ ...HEADER, ...wrong }), { code: 'usage' });
  }
  checkPointLabels(HEADER);
});
