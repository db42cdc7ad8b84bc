import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { parseLibvirtUri } from './address.ts';

const ENVIRONMENT = { XDG_RUNTIME_DIR: '/run/user/7' };

test('URIs name where to connect and what to ask for', () => {
  const cases: [uri: string, address: object][] = [
    [
      'qemu:///system',
      {
        transport: 'unix',
        name: 'qemu:///system',
        paths: ['/run/libvirt/virtqemud-sock', '/run/libvirt/libvirt-sock'],
      },
    ],
    [
      'qemu:///session',
      {
        transport: 'unix',
        name: 'qemu:///session',
        paths: ['/run/user/7/libvirt/virtqemud-sock', '/run/user/7/libvirt/libvirt-sock'],
      },
    ],
    [
      'qemu+unix:///session?socket=/a%20b+/s',
      { transport: 'unix', name: 'qemu:///session', paths: ['/a b+/s'] },
    ],
    [
      'qemu+tcp://host/system',
      { transport: 'tcp', name: 'qemu:///system', host: 'host', port: 16509 },
    ],
    [
      'qemu+tcp://[::1]:17/system',
      { transport: 'tcp', name: 'qemu:///system', host: '::1', port: 17 },
    ],
  ];
  for (const [uri, address] of cases) assert.deepEqual(parseLibvirtUri(uri, ENVIRONMENT), address);
});

test('ssh gets user, port and host, and nothing that it could take for an option', () => {
  const address = parseLibvirtUri('qemu+ssh://me@host:22/system', {});
  assert.ok(address.transport === 'ssh');
  const command = address.args.at(-1);
  const args = address.args.slice(0, -1).join(' ');
  assert.equal(args, '-T -o BatchMode=yes -l me -p 22 -- host');
  assert.match(String(command), /virt-ssh-helper qemu:\/\/\/system/);
  const evil = parseLibvirtUri('qemu+ssh://-oProxyCommand=x/system', {});
  assert.ok(evil.transport === 'ssh');
  assert.equal(evil.args.at(-3), '--');
});

test('what is not understood is wrong usage', () => {
  const uris = ['', 'x', 'qemu:///', 'qemu:///other', 'xen:///system', 'qemu+tls://host/system'];
  uris.push('qemu://host/system', 'qemu+ssh:///system', 'qemu+tcp:///system');
  uris.push('qemu+unix:///session?socket=%zz', 'qemu+ssh://%zz@host/system');
  for (const uri of uris) {
    assert.throws(
      () => parseLibvirtUri(uri, ENVIRONMENT),
      (error) => isCofferError(error, 'usage'),
      uri,
    );
  }
});
