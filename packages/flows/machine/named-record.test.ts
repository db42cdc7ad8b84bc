import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CofferError } from '@coffer/base';
import { chooseRecord, type NameOwner } from './named-record.ts';

const HERE = 'qemu:///system';
const THERE = 'qemu:///session';
const record = (vm: string, uuid: string, connect = HERE) => ({ vm, uuid, connect });

function chosen(
  records: ReturnType<typeof record>[],
  owners: Readonly<Record<string, NameOwner>>,
): string | undefined {
  return chooseRecord(records, 'web', new Map(Object.entries(owners)))?.uuid;
}

test('a machine that was renamed is found by its name now', () => {
  assert.equal(chosen([record('old', '1')], { [HERE]: { uuid: '1' } }), '1');
});

test('a name that another machine has now does not mean the one that had it', () => {
  assert.equal(chosen([record('web', '1')], { [HERE]: { uuid: '2' } }), undefined);
  const both = [record('web', '1'), record('mail', '2')];
  assert.equal(chosen(both, { [HERE]: { uuid: '2' } }), '2');
});

test('a name that no machine has any more means the one that had it', () => {
  assert.equal(chosen([record('web', '1')], { [HERE]: { uuid: undefined } }), '1');
  assert.equal(chosen([record('mail', '1')], { [HERE]: { uuid: undefined } }), undefined);
});

test('a name that means machines of two hosts has to be a UUID', () => {
  const two = [record('web', '1'), record('web', '2', THERE)];
  const owners = { [HERE]: { uuid: '1' }, [THERE]: { uuid: '2' } };
  assert.throws(() => chosen(two, owners), { code: 'usage' });
  assert.equal(chosen(two, { ...owners, [THERE]: { uuid: '3' } }), '1');
});

test('where nobody can tell who has the name, nothing is taken for it', () => {
  const failure = new CofferError('libvirt-unreachable');
  assert.throws(() => chosen([record('web', '1')], { [HERE]: { failure } }), {
    code: 'libvirt-unreachable',
  });
  const others = [record('mail', '1'), record('web', '2', THERE)];
  assert.equal(chosen(others, { [HERE]: { failure }, [THERE]: { uuid: '2' } }), '2');
});
