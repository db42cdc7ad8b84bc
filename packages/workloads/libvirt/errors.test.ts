import assert from 'node:assert/strict';
import { test } from 'node:test';
import { libvirtCodeOf, libvirtError } from './errors.ts';

const CALLED = { name: 'x', asksAgent: false };

test('numbers of libvirt become codes of Coffer, and stay in the details', () => {
  const cases: [number, string][] = [
    [1, 'libvirt-failed'],
    [28, 'vm-name-taken'],
    [42, 'vm-not-found'],
    [45, 'libvirt-denied'],
    [55, 'libvirt-failed'],
    [68, 'vm-busy'],
    [74, 'libvirt-failed'],
    [86, 'agent-unavailable'],
    [88, 'libvirt-denied'],
    [109, 'libvirt-failed'],
    [12_345, 'libvirt-failed'],
  ];
  for (const [code, expected] of cases) {
    const error = libvirtError(CALLED, { code, origin: 10, message: 'said' });
    assert.equal(error.code, expected, `${code}`);
    assert.equal(libvirtCodeOf(error), code);
    assert.deepEqual(error.details, { libvirtCode: code, said: 'said', procedure: 'x' });
  }
});

test('what needs the agent is unavailable where there is no channel for it', () => {
  const error = { code: 74, origin: 10, message: '' };
  assert.equal(libvirtError({ ...CALLED, asksAgent: true }, error).code, 'agent-unavailable');
});

test('long messages are cut, and other errors have no number', () => {
  const { details } = libvirtError(CALLED, { code: 1, origin: 0, message: 'x'.repeat(5000) });
  assert.equal(String(details['said']).length, 1000);
  assert.equal(libvirtCodeOf(new Error('other')), undefined);
});
