import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { parseDomain } from './domain.ts';
import { assertNoOriginal, pathsOf } from './paths.ts';
import { type DomainChanges, rewriteDomain } from './rewrite.ts';
import { FULL } from './testing/definitions.ts';
import { embeddedLibvirt } from './testing/embedded-libvirt.ts';
import { parseXml, serializeXml } from './xml.ts';

const libvirt = await embeddedLibvirt();
after(async () => await libvirt.close());

/** TPMs can be defined only where swtpm is installed, and this one only fits a whole test. */
const WITHOUT_TPM = FULL.replace(/<tpm [^]*<\/tpm>/, '');
const UUID = '11111111-2222-4333-8444-555555555555';

const COPY: DomainChanges = {
  name: "copy of 'web01' & <co>",
  identity: { uuid: UUID },
  disks: new Map([
    ['vda', { kind: 'file', path: '/new/vda.qcow2', format: 'qcow2', pausesOnError: true }],
    ['vdb', { kind: 'block', path: '/dev/new/vdb', format: 'raw' }],
    ['sda', { kind: 'file', path: '/new/sda.raw', format: 'raw' }],
    ['sdb', { kind: 'file', path: '/new/sdb.qcow2', format: 'qcow2' }],
    ['sdf', { kind: 'file', path: '/new/sdf.raw', format: 'raw' }],
    ['vde', { kind: 'file', path: '/new/vde.qcow2', format: 'qcow2' }],
  ]),
  files: new Map([
    ['/srv/original/vmlinuz', '/new/vmlinuz'],
    ['/srv/original/initrd', '/new/initrd'],
    ['/srv/original/slic.dat', '/new/slic.dat'],
    ['/srv/original/ignition.json', '/new/ignition.json'],
    ['/var/lib/libvirt/qemu/nvram/web01_VARS.fd', '/new/VARS.fd'],
  ]),
  networks: new Map([
    ['default', { kind: 'bridge', name: 'br7' }],
    ['br0', { kind: 'network', name: 'isolated' }],
  ]),
};

const NOTHING: DomainChanges = {
  name: 'bare',
  identity: { uuid: undefined },
  disks: new Map(),
  files: new Map(),
  networks: new Map(),
};

test('libvirt defines the machine that comes out, and nothing in it is of the original', async () => {
  for (const changes of [COPY, NOTHING]) {
    const { xml } = rewriteDomain(WITHOUT_TPM, { ...changes, name: 'copy' });
    const path = await libvirt.write('copy.xml', xml);
    await libvirt.virsh(`define --validate ${path}`);
    const shown = await libvirt.virsh('dumpxml --inactive --security-info copy');
    await libvirt.virsh('undefine copy --keep-nvram');
    assertNoOriginal(shown, FULL);
    const copy = parseDomain(shown);
    assert.equal(copy.disks.length, changes.disks.size + 2);
    assert.notEqual(copy.uuid, parseDomain(FULL).uuid);
    assert.equal(copy.machine, 'pc-q35-7.2');
    const macs = copy.interfaces.map(({ mac }) => mac);
    assert.ok(macs.every((mac) => mac !== undefined && !FULL.includes(mac)));
  }
});

test('names, files and networks are replaced', () => {
  const { xml } = rewriteDomain(FULL, COPY);
  const copy = parseDomain(xml);
  assert.equal(copy.name, COPY.name);
  assert.equal(copy.uuid, UUID);
  assert.equal(copy.boot.kernel, '/new/vmlinuz');
  assert.equal(copy.boot.initrd, '/new/initrd');
  assert.equal(copy.boot.cmdline, 'root=/dev/vda1 quiet');
  assert.equal(copy.boot.nvram, '/new/VARS.fd');
  assert.equal(copy.boot.nvramTemplate, '/usr/share/OVMF/OVMF_VARS_4M.fd');
  assert.equal(copy.boot.loader, '/usr/share/OVMF/OVMF_CODE_4M.fd');
  assert.equal(copy.metadata, parseDomain(FULL).metadata);
  assert.deepEqual(
    copy.interfaces.map(({ type, source, mac, model }) => [type, source, mac, model]),
    [
      ['bridge', 'br7', undefined, 'virtio'],
      ['network', 'isolated', undefined, 'e1000e'],
    ],
  );
  assert.deepEqual(pathsOf(xml), [
    '/dev/new/vdb',
    '/new/VARS.fd',
    ...['ignition.json', 'initrd', 'sda.raw', 'sdb.qcow2', 'sdf.raw'].map((name) => `/new/${name}`),
    ...['slic.dat', 'vda.qcow2', 'vde.qcow2', 'vmlinuz'].map((name) => `/new/${name}`),
  ]);
  assert.doesNotMatch(xml, /<seclabel|<emulator|vnet3|portid|interfaceid| id='7'/);
  assert.match(xml, /<genid\/>/);
});

test('disks keep what the guest sees and lose what was of the old image', () => {
  const disks = new Map(
    parseDomain(rewriteDomain(FULL, COPY).xml).disks.map((disk) => [disk.target, disk]),
  );
  const vda = disks.get('vda');
  assert.deepEqual(vda?.source, { kind: 'file', path: '/new/vda.qcow2' });
  assert.deepEqual([vda?.serial, vda?.bootOrder, vda?.backing], ['DISK-A', 1, undefined]);
  assert.deepEqual(vda?.driver, {
    name: 'qemu',
    type: 'qcow2',
    discard: 'unmap',
    error_policy: 'stop',
    rerror_policy: 'stop',
  });
  assert.deepEqual(disks.get('vdb')?.source, { kind: 'block', path: '/dev/new/vdb' });
  assert.equal(disks.get('vdb')?.encryption, undefined);
  assert.equal(disks.get('sda')?.wwn, '5000c50015ea71aa');
  assert.equal(disks.get('sdf')?.device, 'disk');
  assert.deepEqual(disks.get('sdg')?.source, { kind: 'none' });
});

test('what the copy lacks is told', () => {
  const told = rewriteDomain(FULL, COPY).findings.map(({ code, device, path }) =>
    [code, device, path].filter(Boolean).join(' '),
  );
  const pci = "<address domain='0x0000' bus='0x06' slot='0x02' function='0x0'/>";
  const virtual = "<address type='pci' domain='0x0000' bus='0x04' slot='0x10' function='0x1'/>";
  assert.deepEqual(told, [
    'encryption-dropped vdb',
    'disk-dropped sdc',
    'disk-dropped sdd',
    'disk-dropped sde',
    'medium-ejected sdg',
    'host-folder-dropped share /srv/original/share',
    `host-device-dropped hostdev ${virtual}`,
    `host-device-dropped pci ${pci}`,
    'shared-memory-dropped shared-original',
    'console-redirected serial 0 /srv/original/console.log',
    'console-redirected serial 1',
    'console-redirected console 0 /srv/original/console.log',
    'channel-dropped channel org.example.program',
    'console-redirected channel org.example.log /srv/original/port.log',
    'ports-renewed vnc',
    'secret-needed 2a81f5b2-8403-7b23-c8d6-21ccc2f80d6f',
    'file-dropped qemu:commandline /srv/original/extra.img',
  ]);
});

test('files that a point does not hold go, with what goes with them only', () => {
  const { xml, findings } = rewriteDomain(FULL, NOTHING);
  const bare = parseDomain(xml.replace('<memory', `<uuid>${UUID}</uuid><memory`));
  const { kernel, initrd, cmdline, nvram, nvramTemplate } = bare.boot;
  assert.deepEqual([kernel, initrd, cmdline, nvram], [undefined, undefined, undefined, undefined]);
  assert.equal(nvramTemplate, '/usr/share/OVMF/OVMF_VARS_4M.fd');
  assert.ok(findings.some(({ code }) => code === 'variables-new'));
  const dropped = findings.filter(({ code }) => code === 'file-dropped');
  assert.deepEqual(
    dropped.map(({ device }) => device),
    ['entry', 'kernel', 'initrd', 'acpi', 'qemu:commandline'],
  );
  assert.deepEqual(pathsOf(xml), []);
});

test('the same machine at another place keeps UUID, addresses and ports', () => {
  const { xml } = rewriteDomain(FULL, { ...COPY, name: 'web01', identity: 'keep' });
  const before = parseDomain(FULL);
  const after = parseDomain(xml);
  assert.equal(after.uuid, before.uuid);
  assert.deepEqual(
    after.interfaces.map(({ mac }) => mac),
    before.interfaces.slice(0, 2).map(({ mac }) => mac),
  );
  assert.match(xml, /port='5907'/);
  assert.match(xml, /service='4555'/);
  assert.match(xml, /<entry name='uuid'>6695eb01/);
  assert.match(xml, /<genid\/>/);
  assertNoOriginal(xml, FULL);
});

test('a log that has a new place stays a log', () => {
  const files = new Map([['/srv/original//console.log', '/new//console.log']]);
  const { xml } = rewriteDomain(FULL, { ...NOTHING, files });
  assert.match(xml, /<serial type='file'>\s*<source path='\/new\/\/console.log' append='on'\/>/);
  assert.doesNotMatch(xml, /serial\.log/);
});

test('a place that is called like one of the original is used where it was asked for', () => {
  const path = '/srv/original/vda.snap2.qcow2';
  const disks = new Map([['vda', { kind: 'file', path, format: 'qcow2' } as const]]);
  const { xml } = rewriteDomain(FULL, { ...NOTHING, disks });
  assert.deepEqual(pathsOf(xml), [path]);
  assert.throws(
    () => assertNoOriginal(xml, FULL),
    (error) => isCofferError(error, 'target-unfit') && error.details['paths'] === path,
  );
});

test('a disk that is not there cannot be replaced', () => {
  const disks = new Map([['vdz', { kind: 'file', path: '/x', format: 'raw' } as const]]);
  assert.throws(
    () => rewriteDomain(FULL, { ...NOTHING, disks }),
    (error) => isCofferError(error, 'disk-not-found') && error.details['disk'] === 'vdz',
  );
});

test('what no rule knows stays', () => {
  const strange = "<future a='1'><deep>text</deep><!-- why --></future>";
  const xml = FULL.replace('<memballoon', `${strange}<memballoon`).replace(
    '<vcpu',
    `${strange}<vcpu`,
  );
  const rewritten = rewriteDomain(xml, COPY).xml;
  assert.equal(rewritten.split(strange).length, 3);
  assert.equal(serializeXml(parseXml(rewritten, 'domain')), rewritten);
});
