import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { assertNoOriginal, pathsOf } from './paths.ts';
import { FULL } from './testing/definitions.ts';

test('every file of the host that a definition names is found', () => {
  assert.deepEqual(pathsOf(FULL), [
    '/dev/original/base',
    '/dev/original/data',
    '/dev/original/lun',
    '/srv/original/console.log',
    '/srv/original/extra.img',
    '/srv/original/ignition.json',
    '/srv/original/initrd',
    '/srv/original/install.iso',
    '/srv/original/port.log',
    '/srv/original/program.sock',
    '/srv/original/ro.img',
    '/srv/original/serial.log',
    '/srv/original/share',
    '/srv/original/shared.img',
    '/srv/original/slic.dat',
    '/srv/original/transient.img',
    '/srv/original/vda.snap1.qcow2',
    '/srv/original/vda.snap2.qcow2',
    '/srv/original/vmlinuz',
    '/var/lib/libvirt/qemu/channel/target/domain-7-web01/org.qemu.guest_agent.0',
    '/var/lib/libvirt/qemu/nvram/web01_VARS.fd',
  ]);
});

function found(devices: string): string[] {
  return pathsOf(`<domain><devices>${devices}</devices></domain>`);
}

test('paths are found however they are written, and in what is not known', () => {
  const cases: [xml: string, paths: string[]][] = [
    ["<disk><source file='/a/./b/../c//d/'/></disk>", ['/a/c/d']],
    ["<disk><source file='relative.img'/></disk>", ['relative.img']],
    ['<new><thing at="/a"/><other> /b </other></new>', ['/a', '/b']],
    ['<new>/a<!-- --><child/></new>', ['/a']],
    ['<new><![CDATA[/a]]></new>', ['/a']],
    ["<x:commandline><x:arg value='a=/b,c:/d;\"/e'/></x:commandline>", ['/b', '/d', '/e']],
    ["<loader type='pflash'>/a</loader>", ['/a']],
    ["<loader type='pflash' readonly='yes'>/a</loader><loader type='rom'>/b</loader>", []],
    ['<rng><backend>/dev/urandom</backend></rng><rng><backend>/a</backend></rng>', ['/a']],
  ];
  for (const [xml, paths] of cases) assert.deepEqual(found(xml), paths, xml);
});

function shared(newDevices: string, devices: string): unknown {
  const domain = (inner: string): string => `<domain><devices>${inner}</devices></domain>`;
  try {
    assertNoOriginal(domain(newDevices), domain(devices));
    return undefined;
  } catch (error) {
    assert.ok(isCofferError(error, 'target-unfit'), String(error));
    return error.details['paths'];
  }
}

test('a definition that names what the original names is refused', () => {
  const disk = (source: string): string => `<disk>${source}</disk>`;
  assert.equal(shared(disk("<source file='/a'/>"), disk("<source dev='/b'/>")), undefined);
  assert.equal(shared(disk("<source dev='//a/.'/>"), disk("<source file='/a'/>")), '/a');
  const volume = disk("<source pool='p' volume='v'/>");
  assert.equal(shared(volume, volume), 'volume p/v');
  assert.equal(shared(volume, disk("<source pool='p' volume='w'/>")), undefined);
  const image = (host: string): string =>
    disk(`<source protocol='nbd' name='vda'><host name='${host}' port='10809'/></source>`);
  assert.equal(shared(image('a'), image('a')), 'nbd:vda a:10809');
  assert.equal(shared(image('a'), image('b')), undefined);
});

test('only the first of many paths are shown, and all are counted', () => {
  const many = Array.from({ length: 30 }, (_, index) => `<disk><source file='/${index}'/></disk>`);
  const text = `<domain>${many.join('')}</domain>`;
  assert.throws(
    () => assertNoOriginal(text, text),
    (error) =>
      isCofferError(error, 'target-unfit') &&
      error.details['count'] === 30 &&
      String(error.details['paths']).split(', ').length === 10,
  );
});
