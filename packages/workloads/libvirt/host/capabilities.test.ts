import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { parseCapabilities, parseCpuCapabilities } from './capabilities.ts';

const CAPABILITIES = `<capabilities>
  <host><cpu><arch>x86_64</arch></cpu>
    <secmodel><model>apparmor</model><doi>0</doi></secmodel>
    <secmodel><model>dac</model><doi>0</doi>
      <baselabel type='kvm'>+1:+1</baselabel><baselabel type='qemu'>+64055:+109</baselabel>
    </secmodel></host>
  <guest><os_type>hvm</os_type><arch name='i686'><machine>pc</machine>
    <domain type='qemu'/></arch></guest>
  <guest><os_type>hvm</os_type><arch name='x86_64'>
    <machine maxCpus='255'>pc-i440fx-7.2</machine>
    <machine canonical='pc-i440fx-7.2' maxCpus='255'>pc</machine>
    <domain type='qemu'/><domain type='kvm'><machine>pc-q35-7.2</machine></domain></arch></guest>
</capabilities>`;

test('architectures, machine types and the user of QEMU are read', () => {
  const { architectures, qemuUser } = parseCapabilities(CAPABILITIES);
  assert.deepEqual([...architectures.keys()], ['i686', 'x86_64']);
  const { types, machines } = architectures.get('x86_64')!;
  assert.deepEqual([...types], ['qemu', 'kvm']);
  for (const machine of ['pc', 'pc-i440fx-7.2', 'pc-q35-7.2']) assert.ok(machines.has(machine));
  assert.deepEqual(qemuUser, { userId: 64055, groupId: 109 });
});

test('a host without users for QEMU names none', () => {
  assert.equal(parseCapabilities('<capabilities><host/></capabilities>').qemuUser, undefined);
  const odd = CAPABILITIES.replace('+64055:+109', 'libvirt-qemu');
  assert.equal(parseCapabilities(odd).qemuUser, undefined);
});

test('models of a CPU that cannot be used are left out', () => {
  const { modes, models } = parseCpuCapabilities(`<domainCapabilities><cpu>
    <mode name='host-passthrough' supported='yes'/><mode name='maximum' supported='no'/>
    <mode name='custom' supported='yes'><model usable='yes'>qemu64</model>
      <model usable='no'>EPYC</model><model usable='unknown'>486</model></mode>
  </cpu></domainCapabilities>`);
  assert.deepEqual([...modes], ['host-passthrough', 'custom']);
  assert.deepEqual([...models], ['qemu64', '486']);
});

test('what is not of libvirt is refused', () => {
  for (const parse of [parseCapabilities, parseCpuCapabilities]) {
    assert.throws(
      () => parse('<domain/>'),
      (error) => isCofferError(error, 'libvirt-failed'),
    );
  }
});
