import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LibvirtConnection } from '../connection.ts';
import { parseDomain } from '../domain/domain.ts';
import { findMisfits } from './misfits.ts';

/** A host with one type of machines, one model of processors, and no network. */
const HOST: Partial<LibvirtConnection> = {
  socketPath: '/run/libvirt/libvirt-sock',
  capabilities: async () => `<capabilities><host/><guest><arch name='x86_64'>
    <machine canonical='pc-q35-7.2'>q35</machine><domain type='kvm'/></arch></guest></capabilities>`,
  domainCapabilities: async () => `<domainCapabilities><cpu>
    <mode name='host-passthrough' supported='yes'/>
    <mode name='custom' supported='yes'><model usable='yes'>Nehalem</model>
      <model usable='no'>EPYC</model></mode></cpu></domainCapabilities>`,
  canHaveCpu: async (_kind, cpu) => !cpu.includes('avx512f'),
  networks: async () => [],
};

async function told(how: {
  readonly type?: string;
  readonly arch?: string;
  readonly machine?: string;
  readonly cpu?: string;
  readonly devices?: string;
}): Promise<string> {
  const { type = 'kvm', arch = 'x86_64', machine = 'q35', cpu = '', devices = '' } = how;
  const definition = parseDomain(`<domain type='${type}'><name>web</name><memory>1024</memory>
    <uuid>11111111-2222-3333-4444-555555555555</uuid>
    <os><type arch='${arch}' machine='${machine}'>hvm</type></os>${cpu}
    <devices>${devices}</devices></domain>`);
  // The methods that are asked; the class has more, and private ones.
  const connection = HOST as unknown as LibvirtConnection;
  const misfits = await findMisfits({ connection, definition, networks: new Map() });
  return misfits.map(({ kind, message }) => `${kind}: ${message}`).join('; ');
}

function cpu(model: string, check: string, feature = 'aes'): string {
  const demanded = `<feature policy='require' name='${feature}'/>`;
  return `<cpu mode='custom' check='${check}'><model>${model}</model>${demanded}</cpu>`;
}

test('what a host has is no reason to refuse a machine', async () => {
  assert.equal(await told({}), '');
  assert.equal(await told({ machine: 'pc-q35-7.2', cpu: "<cpu mode='host-passthrough'/>" }), '');
  assert.equal(await told({ cpu: cpu('Nehalem', 'full') }), '');
});

test('a machine of another kind than the host can run is told', async () => {
  assert.equal(await told({ arch: 'aarch64' }), 'architecture: no QEMU for aarch64');
  assert.equal(await told({ machine: 'pc-q35-9.0' }), 'machine: no machine type pc-q35-9.0');
  assert.match(await told({ type: 'qemu' }), /^machine: no machines of type qemu/);
});

test('a processor that the host has not, or not with all that libvirt demands of it, is told', async () => {
  assert.equal(await told({ cpu: "<cpu mode='maximum'/>" }), 'processor: no CPU mode maximum');
  assert.equal(await told({ cpu: cpu('EPYC', 'none') }), 'processor: no CPU model EPYC');
  for (const check of ['partial', 'full']) {
    assert.match(
      await told({ cpu: cpu('Nehalem', check, 'avx512f') }),
      /Nehalem with all features/,
    );
  }
  assert.equal(await told({ cpu: cpu('Nehalem', 'none', 'avx512f') }), '', 'QEMU leaves it out');
});

test('a network that is not there is told, with how to choose another', async () => {
  const devices = "<interface type='network'><source network='lab'/></interface>";
  assert.match(await told({ devices }), /^network: no network lab$/);
});
