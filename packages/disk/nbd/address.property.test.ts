import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isCofferError } from '@coffer/base';
import {
  checkedExportName,
  formatNbdUri,
  isNbdUri,
  type NbdAddress,
  parseNbdUri,
} from './address.ts';
import { fails, must, nbdLab } from './testing/lab.ts';

const lab = nbdLab();

const plain = { tls: false, certificatesFolder: undefined, pskFile: undefined, user: undefined };

test('URIs say where an export is', () => {
  const tcp = (host: string, port = 10_809): NbdAddress['place'] => ({ form: 'tcp', host, port });
  const unix = (path: string): NbdAddress['place'] => ({ form: 'unix', path });
  const cases: [string, Partial<NbdAddress>][] = [
    ['nbd://host', { place: tcp('host'), exportName: '' }],
    ['nbd://host/', { place: tcp('host'), exportName: '' }],
    ['nbd://host:1/disk', { place: tcp('host', 1), exportName: 'disk' }],
    ['nbd://host//disk', { place: tcp('host'), exportName: '/disk' }],
    ['nbd://host/a/../b', { place: tcp('host'), exportName: 'a/../b' }],
    ['nbd://host/a%2Fb%20c', { place: tcp('host'), exportName: 'a/b c' }],
    ['nbd://[::1]:65535/x', { place: tcp('::1', 65_535), exportName: 'x' }],
    ['nbd://127.0.0.1/x', { place: tcp('127.0.0.1'), exportName: 'x' }],
    ['nbd+unix:///x?socket=/run/s', { place: unix('/run/s'), exportName: 'x' }],
    ['nbd+unix://?socket=s', { place: unix('s'), exportName: '' }],
    ['nbd+unix:///?socket=/a+b%26c', { place: unix('/a+b&c'), exportName: '' }],
    ['nbds://u%40v@host/x', { place: tcp('host'), exportName: 'x', tls: true, user: 'u@v' }],
    [
      'nbds+unix:///?socket=s&tls-certificates=/pki',
      { place: unix('s'), exportName: '', tls: true, certificatesFolder: '/pki' },
    ],
    [
      'nbds://alice@h/?tls-psk-file=/k',
      { place: tcp('h'), exportName: '', tls: true, pskFile: '/k', user: 'alice' },
    ],
  ];
  for (const [uri, expected] of cases) {
    assert.ok(isNbdUri(uri));
    assert.deepEqual(parseNbdUri(uri), { ...plain, ...expected }, uri);
  }
});

test('URIs that say nothing of that kind are refused', () => {
  const refused = [
    '',
    'nbd:',
    'nbd:unix:/s',
    'http://host/',
    'nbd:///x',
    'nbd://host:0/',
    'nbd://host:65536/',
    'nbd://host:port/',
    'nbd://a:b:c/',
    'nbd://[::1/x',
    'nbd://host/a#b',
    'nbd://host/%zz',
    'nbd://host/%ff',
    'nbd://host/a%00b',
    `nbd://host/${'x'.repeat(4097)}`,
    'nbd+unix:///x',
    'nbd+unix:///x?socket=',
    'nbd+unix://host/x?socket=s',
    'nbd+unix:///x?socket=a%00b',
    `nbd+unix:///?socket=/${'x'.repeat(107)}`,
  ];
  for (const uri of refused) {
    assert.throws(() => parseNbdUri(uri), fails('usage'), uri);
  }
});

const names = fc.string({ unit: 'binary', maxLength: 60 }).filter((name) => !name.includes('\0'));
const places: fc.Arbitrary<NbdAddress['place']> = fc.oneof(
  fc.record({
    form: fc.constant('tcp' as const),
    host: fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6()),
    port: fc.integer({ min: 1, max: 65_535 }),
  }),
  fc.record({
    form: fc.constant('unix' as const),
    path: names.filter((path) => path.length > 0 && Buffer.byteLength(path) <= 107),
  }),
);

test('what is written as a URI is read as the same', () => {
  fc.assert(
    fc.property(places, names, fc.boolean(), (place, exportName, tls) => {
      const parsed = parseNbdUri(formatNbdUri({ place, exportName, tls }));
      assert.deepEqual(parsed, { ...plain, place: { ...place }, exportName, tls });
    }),
  );
});

test('any text is an address or a wrong usage', () => {
  const texts = fc.tuple(
    fc.constantFrom('nbd://', 'nbds://', 'nbd+unix://', 'nbds+unix://', ''),
    fc.string({ unit: 'binary' }),
    fc.constantFrom('', '/x?socket=/s', '@h:1/%41'),
  );
  fc.assert(
    fc.property(texts, (parts) => {
      try {
        checkedExportName(parseNbdUri(parts.join('')).exportName);
      } catch (error) {
        assert.ok(isCofferError(error, 'usage'), String(error));
      }
    }),
  );
});

test('libnbd understands the URIs that are written', async () => {
  const socket = lab.path('a+b &c#d?e=f');
  await lab.start('nbdkit', (pidFile) => [
    '-f',
    '-P',
    pidFile,
    '-U',
    socket,
    'eval',
    'get_size=echo 1',
    'open=echo "$3"',
  ]);
  const place = { form: 'unix', path: socket } as const;
  const uri = formatNbdUri({ place, exportName: 'x y/ü+%41', tls: false });
  const said = await must('nbdinfo', ['--json', uri]);
  const info = JSON.parse(said) as { exports: { 'export-name': string }[] };
  assert.equal(info.exports[0]?.['export-name'], 'x y/ü+%41');
});
