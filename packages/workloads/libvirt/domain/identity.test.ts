import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDomain } from './domain.ts';
import { changesBetween, type DomainChange, type DomainState } from './identity.ts';
import { FULL } from './testing/definitions.ts';

const SIZES = { vda: 1000, vdb: 2000 };

function state(xml: string, sizes: Record<string, number> = SIZES): DomainState {
  return { domain: parseDomain(xml), diskSizesBytes: new Map(Object.entries(sizes)) };
}

function changes(xml: string, sizes?: Record<string, number>): DomainChange[] {
  return changesBetween(state(FULL), state(xml, sizes));
}

test('an unchanged machine has no changes, running or off', () => {
  assert.deepEqual(changes(FULL), []);
  const off = FULL.replace(" id='7'", '').replace(" state='connected'", '');
  assert.deepEqual(changes(off), []);
});

test('a machine is followed through another name', () => {
  const xml = FULL.replace('<name>web01<', '<name>web02<');
  assert.deepEqual(changes(xml), [{ kind: 'name', from: 'web01', to: 'web02' }]);
});

test('other hardware is told', () => {
  const xml = FULL.replace('pc-q35-7.2', 'pc-q35-8.0').replace("'MiB'>512<", "'MiB'>768<");
  const kinds = changes(xml).map(({ kind }) => kind);
  assert.deepEqual(kinds, ['machine', 'memory']);
});

test('disks that came, went, grew or were converted are told', () => {
  assert.deepEqual(changes(FULL.replace("dev='sdb'", "dev='sdz'")), [
    { kind: 'disk-removed', target: 'sdb' },
    { kind: 'disk-added', target: 'sdz' },
  ]);
  assert.deepEqual(changes(FULL, { vda: 1500, sdb: 7 }), [
    { kind: 'disk-resized', target: 'vda', fromBytes: 1000, toBytes: 1500 },
  ]);
  assert.deepEqual(changes(FULL.replace("type='raw' cache", "type='qcow2' cache")), [
    { kind: 'disk-format', target: 'vdb', from: 'raw', to: 'qcow2' },
  ]);
});

test('a snapshot or its commit keeps the disk; another image does not', () => {
  const committed = FULL.replace(
    /<source file='\/srv\/original\/vda.snap2.qcow2'[^]*?<backingStore type='block'>/,
    "<source file='/srv/original/vda.snap1.qcow2'/><backingStore type='block'>",
  ).replace(
    '<backingStore/></backingStore>\n      </backingStore>',
    '<backingStore/></backingStore>',
  );
  assert.notEqual(committed, FULL);
  assert.deepEqual(changes(committed), [{ kind: 'disk-chain', target: 'vda' }]);
  const back = changesBetween(state(committed), state(FULL));
  assert.deepEqual(back, [{ kind: 'disk-chain', target: 'vda' }]);
  const replaced = FULL.replace("'/dev/original/data'", "'/dev/original/data2'");
  assert.deepEqual(changes(replaced), [{ kind: 'disk-replaced', target: 'vdb' }]);
});
