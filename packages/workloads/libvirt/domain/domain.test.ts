import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import fc from 'fast-check';
import { parseDomain } from './domain.ts';
import { FULL } from './testing/definitions.ts';

test('a definition that libvirt shows is read', () => {
  const xml = execFileSync('virsh', ['-q', '-c', 'test:///default', 'dumpxml', 'test'], {
    encoding: 'utf8',
  });
  const domain = parseDomain(xml);
  assert.equal(domain.name, 'test');
  assert.equal(domain.type, 'test');
  assert.equal(domain.arch, 'i686');
  assert.deepEqual(domain.memory, { sizeBytes: 2 * 2 ** 30, sizeBytesMax: 8 * 2 ** 30 });
  assert.deepEqual(domain.disks[0]?.source, { kind: 'file', path: '/guest/diskimage1' });
  const [nic] = domain.interfaces;
  assert.deepEqual([nic?.type, nic?.mac, nic?.source], ['network', 'aa:bb:cc:dd:ee:ff', 'default']);
});

test('machine, firmware and files of a direct boot are read', () => {
  const domain = parseDomain(FULL);
  assert.equal(domain.name, 'web01');
  assert.equal(domain.uuid, '6695eb01-f6a4-4304-99aa-97f2502e193f');
  assert.equal(domain.title, '/web & mail');
  assert.equal(domain.machine, 'pc-q35-7.2');
  assert.equal(domain.cpuMode, 'maximum');
  assert.deepEqual(domain.memory, { sizeBytes: 256 * 2 ** 20, sizeBytesMax: 512 * 2 ** 20 });
  assert.deepEqual(domain.boot, {
    firmware: undefined,
    loader: '/usr/share/OVMF/OVMF_CODE_4M.fd',
    nvram: '/var/lib/libvirt/qemu/nvram/web01_VARS.fd',
    nvramTemplate: '/usr/share/OVMF/OVMF_VARS_4M.fd',
    kernel: '/srv/original/vmlinuz',
    initrd: '/srv/original/initrd',
    cmdline: 'root=/dev/vda1 quiet',
    dtb: undefined,
  });
  assert.deepEqual(domain.tpm, {
    model: 'tpm-crb',
    backend: 'emulator',
    version: '2.0',
    secret: '2a81f5b2-8403-7b23-c8d6-21ccc2f80d6f',
  });
  assert.match(domain.metadata ?? '', /<!\[CDATA\[a < b\]\]>/);
});

test('disks are read with source, chain, encryption and driver', () => {
  const disks = new Map(parseDomain(FULL).disks.map((disk) => [disk.target, disk]));
  const [vda, vdb, sda, sdb] = ['vda', 'vdb', 'sda', 'sdb'].map((target) => disks.get(target));
  assert.deepEqual(vda?.backing, [
    { format: 'qcow2', source: { kind: 'file', path: '/srv/original/vda.snap1.qcow2' } },
    { format: 'raw', source: { kind: 'block', path: '/dev/original/base' } },
  ]);
  assert.deepEqual([vda?.serial, vda?.bootOrder, vda?.bus], ['DISK-A', 1, 'virtio']);
  assert.deepEqual(vda?.driver, { name: 'qemu', type: 'qcow2', discard: 'unmap' });
  assert.equal(vdb?.backing, undefined);
  const secret = '0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f';
  assert.deepEqual(vdb?.encryption, { format: 'luks', secret });
  const hosts = ['mon1:6789', 'mon2'];
  assert.deepEqual(sda?.source, { kind: 'network', protocol: 'rbd', name: 'pool/original', hosts });
  assert.equal(sda?.wwn, '5000c50015ea71aa');
  assert.deepEqual(sdb?.source, { kind: 'volume', pool: 'original', volume: 'vol1' });
  assert.deepEqual(disks.get('sdh')?.source, { kind: 'none' });
  assert.deepEqual(disks.get('vde')?.source, { kind: 'other', type: 'nvme' });
  const having = (flag: 'isReadOnly' | 'isShareable' | 'isTransient'): string[] =>
    [...disks.values()].filter((disk) => disk[flag]).map(({ target }) => target);
  assert.deepEqual(having('isReadOnly'), ['sdd', 'sdg', 'sdh']);
  assert.deepEqual(having('isShareable'), ['sdc']);
  assert.deepEqual(having('isTransient'), ['sde']);
});

test('the guest agent, interfaces and devices of the host are read', () => {
  const domain = parseDomain(FULL);
  assert.deepEqual(domain.guestAgent, { name: 'org.qemu.guest_agent.0', state: 'connected' });
  assert.deepEqual(
    domain.interfaces.map(({ type, source }) => [type, source]),
    [
      ['network', 'default'],
      ['bridge', 'br0'],
      ['hostdev', undefined],
    ],
  );
  assert.equal(domain.hostDevices.length, 1);
  assert.match(domain.hostDevices[0]?.address ?? '', /bus='0x06' slot='0x02'/);
});

test('amounts of memory are read in every unit', () => {
  const cases: [string, number][] = [
    ["<memory unit='b'>4096</memory>", 4096],
    ["<memory unit='bytes'>4096</memory>", 4096],
    ["<memory unit='KB'>2</memory>", 2000],
    ["<memory unit='k'>2</memory>", 2048],
    ['<memory>2</memory>', 2048],
    ["<memory unit='G'>1</memory>", 2 ** 30],
    ["<memory unit='TiB'>1</memory>", 2 ** 40],
  ];
  for (const [memory, sizeBytesMax] of cases) {
    assert.equal(parseDomain(withMemory(memory)).memory.sizeBytesMax, sizeBytesMax, memory);
  }
});

function withMemory(memory: string): string {
  return FULL.replace(/<memory unit='MiB'>512<\/memory>/, memory);
}

test('definitions with wrong values are refused and say which', () => {
  const cases: [from: string | RegExp, to: string, reason: RegExp][] = [
    ['<name>web01</name>', '', /name/],
    ['<name>', '<devices/><name>', /twice/],
    [/<uuid>.*<\/uuid>/, '<uuid>../../x</uuid>', /UUID/],
    ["<memory unit='MiB'>512<", "<memory unit='MiB'>1e9<", /memory/],
    ["<memory unit='MiB'>512<", "<memory unit='EiB'>9999999<", /memory/],
    ["<memory unit='MiB'>512<", "<memory unit='furlong'>1<", /unit/],
    [" arch='x86_64'", '', /architecture/],
    ["<target dev='vda'", "<target dev='../vda'", /target/],
    ["<target dev='vdb'", "<target dev='vda'", /twice/],
    ["device='lun'", "device='tape'", /device of disk/],
    ["<boot order='1'/>", "<boot order='-1'/>", /boot order/],
    [" protocol='rbd'", '', /protocol/],
    [" pool='original'", '', /volume/],
  ];
  for (const [from, to, reason] of cases) {
    const xml = FULL.replace(from, to);
    assert.notEqual(xml, FULL);
    assert.throws(
      () => parseDomain(xml),
      (error) =>
        isCofferError(error, 'libvirt-failed') && reason.test(String(error.details['reason'])),
      String(from),
    );
  }
});

test('a definition with any element or value missing is read or refused, never a crash', () => {
  const tags = [...FULL.matchAll(/<[a-z][^>]*?\/>|(?<= )[a-z]+='[^']*'|(?<=>)[^<]+(?=<)/g)];
  fc.assert(
    fc.property(fc.subarray(tags, { minLength: 1, maxLength: 4 }), (removed) => {
      let xml = FULL;
      for (const { 0: text, index } of removed.toReversed()) {
        xml = xml.slice(0, index) + xml.slice(index + text.length);
      }
      try {
        parseDomain(xml);
      } catch (error) {
        assert.ok(isCofferError(error, 'libvirt-failed'), String(error));
      }
    }),
  );
});
