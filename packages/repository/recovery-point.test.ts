import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import {
  decodePoint,
  encodePoint,
  encodePointAgain,
  openManifest,
  parsePointObjectName,
  type PointHeader,
  pointObjectName,
} from './recovery-point.ts';
import { generateKeyPair } from './sealed-box.ts';

const random = seededRandom(1);
const keys = { ...generateKeyPair(random), hashKey: random.bytes(32) };
const { publicKey } = keys;
const MANIFEST = { host: 'host', path: '/home' };
const HEADER: PointHeader = {
  item: 'Häuser/1@home',
  kind: 'files',
  takenAt: 1_800_000_000_000,
  roots: [{ root: 'ab'.repeat(32), sizeBytes: 5 }],
  tags: { why: 'test' },
};
const isDamaged = (error: unknown): boolean => isCofferError(error, 'object-damaged');

test('header and manifest of a point read as they were written', () => {
  const { id, bytes } = encodePoint(HEADER, MANIFEST, { publicKey, random });
  const { manifest, ...header } = decodePoint(id, bytes);
  assert.deepEqual(header, HEADER);
  assert.deepEqual(openManifest({ ...header, manifest }, keys), MANIFEST);
  assert.ok(!bytes.includes('/home'), 'the manifest is sealed');
});

test('a point under another id is damage', () => {
  const { bytes } = encodePoint(HEADER, MANIFEST, { publicKey, random });
  assert.throws(() => decodePoint('00'.repeat(16), bytes), isDamaged);
});

test('a manifest opens only with the header that it came with', () => {
  const { id, bytes } = encodePoint(HEADER, MANIFEST, { publicKey, random });
  const point = decodePoint(id, bytes);
  const [root] = point.roots;
  for (const changed of [
    { ...point, item: 'other' },
    { ...point, kind: 'disk' as const },
    { ...point, takenAt: point.takenAt + 1 },
    { ...point, roots: [{ ...root!, sizeBytes: 6 }] },
    { ...point, roots: [{ ...root!, root: 'cd'.repeat(32) }] },
  ]) {
    assert.throws(() => openManifest(changed, keys), isDamaged);
  }
});

test('a point that is sealed anew has another id and the same manifest', () => {
  const { id, bytes } = encodePoint(HEADER, MANIFEST, { publicKey, random });
  const other = { ...generateKeyPair(random), hashKey: random.bytes(32) };
  const roots = [{ root: 'cd'.repeat(32), sizeBytes: 5 }];
  const seal = { publicKey: other.publicKey, random };
  const again = encodePointAgain(decodePoint(id, bytes), roots, keys, seal);
  assert.notEqual(again.id, id);
  const { manifest: _, ...header } = decodePoint(again.id, again.bytes);
  assert.deepEqual(header, { ...HEADER, roots });
  assert.deepEqual(openManifest(decodePoint(again.id, again.bytes), other), MANIFEST);
});

test('names of objects tell generation and id, and nothing else is a point', () => {
  const id = '0123456789abcdef'.repeat(2);
  for (const generation of [0, 7, 99_999_999, 100_000_000]) {
    const name = pointObjectName('item', generation, id);
    assert.deepEqual(parsePointObjectName(name), { generation, id });
  }
  for (const name of ['points/x', `points/${id}/1-${id}`, `points/${id}/00000001-${id}x`]) {
    assert.equal(parsePointObjectName(name), undefined);
  }
});
