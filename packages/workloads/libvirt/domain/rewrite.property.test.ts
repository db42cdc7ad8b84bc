import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import fc from 'fast-check';
import { assertNoOriginal, pathsOf } from './paths.ts';
import { type DomainChanges, rewriteDomain } from './rewrite.ts';
import { FULL } from './testing/definitions.ts';
import { element, serializeXml, type XmlElement } from './xml.ts';

/** A path that is nowhere else, so that looking for it as text is a judge of its own. */
const path = fc
  .tuple(fc.constantFrom('/', '//', '/./', '/x/../'), fc.nat(9))
  .map(([start, index]) => `${start}ORIGINAL/${index}`);

const NAMES =
  'disk source backingStore mirror interface serial console channel log hostdev filesystem tpm ' +
  'backend graphics listen memory path os devices sysinfo entry2 kernel nvram loader2 future ' +
  'target2 driver constructor dataStore qemu:commandline qemu:arg';
const ATTRIBUTES = 'file dev path dir type socket value name mode id a:b tty';

const node = fc.letrec<{ node: XmlElement }>((tie) => ({
  node: fc
    .tuple(
      fc.constantFrom(...NAMES.split(' ')),
      fc.dictionary(
        fc.constantFrom(...ATTRIBUTES.split(' ')),
        fc.oneof(path, fc.constantFrom('file', 'unix', 'pty', 'tcp', 'emulator', 'passthrough')),
        { maxKeys: 3 },
      ),
      fc.array(fc.oneof({ maxDepth: 4 }, path, tie('node')), { maxLength: 3 }),
    )
    .map(([name, attributes, children]) => element(name, attributes, children)),
})).node;

const changes: fc.Arbitrary<DomainChanges> = fc.record({
  name: fc.constant('copy'),
  identity: fc.constantFrom<DomainChanges['identity']>('keep', { uuid: undefined }),
  disks: fc.constantFrom<DomainChanges['disks']>(
    new Map(),
    new Map([['vda', { kind: 'file', path: '/new/vda', format: 'qcow2' }]]),
  ),
  files: fc
    .dictionary(path, fc.constantFrom('/new/a', '/new/b'))
    .map((map) => new Map(Object.entries(map))),
  networks: fc.constant(new Map()),
});

const places = ['<devices>', '<os>', '<name>web01</name>', "<driver name='qemu' type='raw'/>"];

test('no path of the original survives, wherever it stood', () => {
  fc.assert(
    fc.property(
      fc.array(node, { maxLength: 5 }),
      fc.constantFrom(...places),
      changes,
      (nodes, place, change) => {
        const original = FULL.replaceAll('/original', '/ORIGINAL')
          .replace("path='/srv/ORIGINAL'", '')
          .replaceAll(place, () => `${place}${nodes.map(serializeXml).join('')}`);
        try {
          const { xml } = rewriteDomain(original, change);
          const allowed = new Set(['/new/a', '/new/b', '/new/vda']);
          assert.deepEqual(
            pathsOf(xml).filter((name) => !allowed.has(name)),
            [],
          );
          assert.doesNotMatch(xml, /\/ORIGINAL/);
          assertNoOriginal(xml, original);
        } catch (error) {
          // Two disks of one name, or a second element where there is one.
          assert.ok(isCofferError(error, 'libvirt-failed'), String(error));
        }
      },
    ),
    { numRuns: 300 },
  );
});
