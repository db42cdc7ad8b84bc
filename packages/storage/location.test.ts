import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { formatLocation, type Location, parseLocation } from './location.ts';

const CONTAINER = { kind: 'azure-blob', account: 'acc', container: 'con' } as const;

test('locations are understood, and written as they were', () => {
  const cases: [text: string, location: Location, canonical?: string][] = [
    ['/srv/backup', { kind: 'filesystem', path: '/srv/backup' }],
    ['backup', { kind: 'filesystem', path: 'backup' }],
    ['a:b', { kind: 'filesystem', path: 'a:b' }],
    ['./s3://b', { kind: 'filesystem', path: './s3://b' }],
    ['s3://bucket', { kind: 's3', bucket: 'bucket', prefix: '' }],
    ['s3://bucket/', { kind: 's3', bucket: 'bucket', prefix: '' }, 's3://bucket'],
    ['S3://bucket/x/', { kind: 's3', bucket: 'bucket', prefix: 'x' }, 's3://bucket/x'],
    ['s3://my.bucket-1/a b/ö', { kind: 's3', bucket: 'my.bucket-1', prefix: 'a b/ö' }],
    ['azure://acc/con', { ...CONTAINER, prefix: '' }],
    ['azure://acc/con/x/y', { ...CONTAINER, prefix: 'x/y' }],
    ['azure://acc/$root/x', { ...CONTAINER, container: '$root', prefix: 'x' }],
  ];
  for (const [text, location, canonical = text] of cases) {
    assert.deepEqual(parseLocation(text), location, text);
    assert.equal(formatLocation(location), canonical);
  }
});

test('what is no location is refused', () => {
  const invalid = [
    '',
    'a\0b',
    'http://x',
    'gs://bucket',
    's3://',
    's3:///x',
    's3://a',
    's3://b b/x',
  ];
  invalid.push('s3://bucket//x', 's3://bucket/../x', 's3://bucket/.', 's3://bucket/a\nb');
  invalid.push(`s3://bucket/${'x'.repeat(401)}`, 's3://key:secret@bucket/x');
  invalid.push('s3:bucket', 'S3:http://server/bucket', 'b2:bucket', 'sftp:user@host:/x');
  invalid.push('azure://', 'azure://acc', 'azure://Acc/con', 'azure://acc/-c', 'azure://acc/a--b');
  for (const text of invalid) {
    assert.throws(
      () => parseLocation(text),
      (error) => isCofferError(error, 'location-invalid'),
      text,
    );
  }
});
