import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Finding } from '@coffer/base';
import type { KnownDisk, Misfit } from '@coffer/workloads/vm-host.ts';
import type { VmManifest } from '../manifest.ts';
import { type OriginalOptions, planAgain, planOriginal } from './in-place-plan.ts';
import { knownVm, VM_UUID } from './testing/fake-vm-host.ts';

const PLAIN: OriginalOptions = { delta: false, sizes: new Map([['vda', 100]]) };
const DELTA: OriginalOptions = { ...PLAIN, delta: true };

function stored(disks: readonly string[], files: VmManifest['files'] = []): VmManifest {
  return {
    name: 'web',
    uuid: VM_UUID,
    xml: '<domain/>',
    consistency: { level: 'off', isFailure: false, frozenMs: 0 },
    disks: disks.map((name) => ({ name, format: 'raw', path: `/old/${name}`, identities: [] })),
    files,
    excluded: [],
  };
}

function codes(findings: readonly Finding[]): string[] {
  return findings.map(({ code, subject }) => `${code} ${subject.name}`);
}

function toldOf(problems: readonly Misfit[]): string {
  return problems.map(({ kind, message }) => `${kind}: ${message}`).join('; ');
}

test('a disk that cannot be given another content where it is keeps all disks as they are', () => {
  const rows: [Partial<KnownDisk>, problem: RegExp | undefined, inPlace?: RegExp][] = [
    [{}, undefined],
    [{ format: 'qcow2' }, undefined],
    [{ kind: 'device' }, undefined],
    [{ isEncrypted: true }, /vdb is encrypted/, /vdb is encrypted/],
    [{ isEncrypted: true, kind: 'device' }, /vdb is encrypted/],
    [{ kind: 'other', path: 'nbd disk of host' }, /vdb is nbd disk of host/, /cannot be written/],
    [{ format: 'vmdk' }, /format vmdk/, /format vmdk/],
    [
      { format: 'qcow2', hasDataFile: true },
      undefined,
      /^disk-in-place: disk vdb has its data in a file/,
    ],
    [{ sizeBytes: 99 }, undefined, /has 99 bytes, 100 are needed/],
    [{ sizeBytes: 99, kind: 'device' }, /has 99 bytes, 100 are needed/],
    [{ sizeBytes: 101, kind: 'device' }, undefined],
    [{ sizeBytes: undefined }, undefined, /vdb cannot be opened/],
    [{ sizeBytes: undefined, kind: 'device' }, /vdb cannot be opened/],
  ];
  const sizes = new Map([['vdb', 100]]);
  const told = (disk: Partial<KnownDisk>, delta: boolean): string => {
    const known = knownVm({ vda: {}, vdb: disk });
    return toldOf(planOriginal(stored(['vda', 'vdb']), known, { delta, sizes }).problems);
  };
  for (const [disk, problem, inPlace] of rows) {
    assert.match(told(disk, false), problem ?? /^$/, JSON.stringify(disk));
    if (problem === undefined || inPlace !== undefined) {
      assert.match(told(disk, true), inPlace ?? /^$/, `in place: ${JSON.stringify(disk)}`);
    }
  }
});

test('files are replaced by new ones, and devices are changed where they are, which is told', () => {
  const known = knownVm({ vda: {}, vdb: { kind: 'device', path: '/dev/vg/b' } });
  const { replacements, findings } = planOriginal(stored(['vda', 'vdb']), known, PLAIN);
  assert.deepEqual(
    replacements.map(({ kind, path }) => [kind, path]),
    [
      ['moved', '/images/vda'],
      ['kept', '/dev/vg/b'],
    ],
  );
  assert.deepEqual(codes(findings), ['changed-in-place vdb']);
  const delta = planOriginal(stored(['vda', 'vdb']), known, DELTA);
  assert.deepEqual(
    delta.replacements.map(({ kind }) => kind),
    ['kept', 'kept'],
  );
  assert.deepEqual(codes(delta.findings), [], 'who asks for it knows');
  const apart = planOriginal(stored(['vda']), knownVm({ vda: { hasDataFile: true } }), PLAIN);
  assert.deepEqual(codes(apart.findings), ['data-file-left vda']);
});

test('a machine that would be gone when it is stopped is not stopped', () => {
  const known = knownVm({ vda: {} }, { isTransient: true });
  assert.match(toldOf(planOriginal(stored(['vda']), known, PLAIN).problems), /is transient/);
});

test('disks that only one side has are told, and one at least has to be on both', () => {
  const known = knownVm({ vda: {}, vdc: {} });
  const { findings } = planOriginal(stored(['vda', 'vdb']), known, PLAIN);
  assert.deepEqual(codes(findings), ['disk-not-restored vdb', 'disk-untouched vdc']);
  assert.throws(() => planOriginal(stored(['vdb']), known, PLAIN), { code: 'disk-not-found' });
});

test('firmware variables and TPM state go to where the machine has them now', () => {
  const files = [
    { name: 'file-nvram', role: 'nvram', path: '/old/vars.fd' },
    { name: 'file-tpm-state', role: 'tpm', path: `/old/${VM_UUID}/tpm2/state` },
    { name: 'file-kernel', role: 'kernel', path: '/boot/kernel' },
  ] as const;
  const placed = (more: Parameters<typeof knownVm>[1]): string[] => {
    const known = knownVm({ vda: {} }, more);
    const { replacements, findings } = planOriginal(stored(['vda'], [...files]), known, PLAIN);
    const state = replacements.filter(({ isDisk }) => !isDisk);
    return [...state.map(({ path }) => path), ...codes(findings)];
  };
  const nvramPath = '/new/vars.fd';
  assert.deepEqual(placed({ nvramPath, hasTpm: true, tpmFolder: '/new/tpm2' }), [
    '/new/vars.fd',
    '/new/tpm2/state',
  ]);
  assert.deepEqual(placed({ nvramPath, hasTpm: true }), [nvramPath, files[1].path]);
  assert.deepEqual(placed({}), [
    'variables-not-restored /old/vars.fd',
    `tpm-state-not-restored ${files[1].path}`,
  ]);
});

test('a machine that is gone comes back where its files can be made as they were', () => {
  const again = (disk: Partial<KnownDisk>): string =>
    toldOf(planAgain(stored(['vda']), knownVm({ vda: disk })).problems);
  assert.equal(again({}), '');
  assert.equal(again({ format: 'qcow2' }), '');
  assert.match(again({ kind: 'device', path: '/dev/x' }), /device \/dev\/x/);
  assert.match(again({ kind: 'other', path: 'empty' }), /cannot be written/);
  assert.match(again({ isEncrypted: true }), /encrypted/);
  assert.match(again({ format: 'vdi' }), /format vdi/);
});
