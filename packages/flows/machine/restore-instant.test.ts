import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { CofferError } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import type { RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import { TestRepository } from '@coffer/repository/testing/test-repository.ts';
import {
  holderOf,
  type InstantRecord,
  instantRecordsIn,
  type InstantRecords,
} from './instant-record.ts';
import {
  type FakeVmHost,
  fakeVmHost,
  pointOf,
  VM_UUID,
  writeChunks,
} from './testing/fake-vm-host.ts';
import type { DiskServing } from './disk-serving.ts';
import { restoreFiles } from './machine-files.ts';
import { discardInstant, restoreInstant } from './restore-instant.ts';

const OTHER_UUID = '22222222-2222-4333-8444-555555555555';
const base = mkdtempSync(join(tmpdir(), 'coffer-vm-instant-'));
const repositories = await TestRepository.create();
after(async () => {
  await repositories[Symbol.asyncDispose]();
  rmSync(base, { recursive: true });
});

let repository: UnlockedRepository;
let folder: string;
let point: RecoveryPoint;
let host: FakeVmHost;
let records: InstantRecords;

beforeEach(async () => {
  folder = mkdtempSync(join(base, 'test-'));
  repository ??= await repositories.host();
  const image = join(base, 'vda.raw');
  writeChunks(image, 1, 2);
  point = await pointOf(repository, image);
  host = fakeVmHost(image);
  host.machine.isThere = false;
  records = instantRecordsIn(join(base, 'records', folder.slice(-6)));
});

async function started(name: string, uuid: string, from?: RecoveryPoint): Promise<void> {
  await restoreInstant(testRun(), {
    repository,
    point: from ?? (await pointNow()),
    host,
    name,
    uuid,
    place: { folder },
    connect: 'test:',
    records,
    serving: servingIn(join(base, `run-${name}`)),
    migrate: false,
  });
}

function servingIn(runFolder: string): DiskServing {
  const nothing = async (): Promise<void> => {};
  return { runFolder, serves: nothing, release: () => {}, [Symbol.asyncDispose]: nothing };
}

async function pointNow(): Promise<RecoveryPoint> {
  return (await repository.points()).find(({ id }) => id === point.id)!;
}

const releasePoint = (_run: unknown, record: InstantRecord): Promise<void> =>
  repository.release(point, holderOf(record));
const byPerson = { holder: 'person', reason: '', by: 'somebody' };

test('a point is held as long as any machine runs on it', async () => {
  await started('a', VM_UUID);
  await started('b', OTHER_UUID);
  await discardInstant(testRun(), { host, records, releasePoint }, { uuid: VM_UUID, vm: 'a' });
  assert.equal((await pointNow()).held, true);
  await discardInstant(testRun(), { host, records, releasePoint }, { uuid: OTHER_UUID, vm: 'b' });
  assert.equal((await pointNow()).held, false);
  assert.deepEqual(readdirSync(folder), []);
});

test('a point that somebody holds is held after the machine, too', async () => {
  await repository.hold(point, byPerson);
  await started('a', VM_UUID);
  await discardInstant(testRun(), { host, records, releasePoint }, { uuid: VM_UUID, vm: 'a' });
  assert.equal((await pointNow()).held, true);
});

test('a hold that a person puts while a machine runs stays when the machine goes', async () => {
  await started('a', VM_UUID);
  await repository.hold(point, byPerson);
  await discardInstant(testRun(), { host, records, releasePoint }, { uuid: VM_UUID, vm: 'a' });
  assert.equal((await pointNow()).held, true);
});

test('machines of two hosts on one point hold it each', async () => {
  await started('a', VM_UUID);
  const here = records;
  records = instantRecordsIn(join(base, 'records', `other-${folder.slice(-6)}`));
  await started('b', OTHER_UUID);
  await discardInstant(
    testRun(),
    { host, records: here, releasePoint },
    { uuid: VM_UUID, vm: 'a' },
  );
  assert.equal((await pointNow()).held, true);
  await discardInstant(testRun(), { host, records, releasePoint }, { uuid: OTHER_UUID, vm: 'b' });
  assert.equal((await pointNow()).held, false);
});

test('a machine is discarded also when its repository is gone', async () => {
  await started('a', VM_UUID);
  const gone = async (): Promise<void> => {
    throw new CofferError('store-unavailable');
  };
  const options = { host, records, releasePoint: gone };
  const findings = await discardInstant(testRun(), options, { uuid: VM_UUID, vm: 'a' });
  assert.deepEqual(
    findings.map(({ code }) => code),
    ['point-still-held'],
  );
  assert.deepEqual([records.list(), readdirSync(folder)], [[], []]);
});

test('the hold of a point goes with the last machine, also when one ends while another one moves', async () => {
  await started('a', VM_UUID);
  await started('b', OTHER_UUID);
  const options = { host, records, releasePoint };
  host.find = async (uuid) => {
    host.find = async () => undefined;
    if (uuid === OTHER_UUID) await discardInstant(testRun(), options, { uuid: VM_UUID, vm: 'a' });
    return undefined;
  };
  await discardInstant(testRun(), options, { uuid: OTHER_UUID, vm: 'b' });
  assert.equal((await pointNow()).held, false);
});

test('a point is held although the machine that it was held for has just gone', async () => {
  await started('a', VM_UUID);
  const seen = await pointNow();
  await discardInstant(testRun(), { host, records, releasePoint }, { uuid: VM_UUID, vm: 'a' });
  point = seen;
  await started('b', OTHER_UUID, seen);
  assert.equal((await pointNow()).held, true);
  await discardInstant(testRun(), { host, records, releasePoint }, { uuid: OTHER_UUID, vm: 'b' });
  assert.equal((await pointNow()).held, false, 'nobody else has held it');
});

test('without a record no point is held', async () => {
  records.write = () => {
    throw new CofferError('target-full');
  };
  await assert.rejects(started('a', VM_UUID), { code: 'target-full' });
  assert.equal((await pointNow()).held, false);
});

test('a machine is moved or discarded by one run at a time', async () => {
  host.define = async () => {
    const options = { host, records, releasePoint };
    await assert.rejects(discardInstant(testRun(), options, { uuid: VM_UUID, vm: 'a' }), {
      code: 'vm-busy',
    });
    return { uuid: VM_UUID, findings: [] };
  };
  await started('a', VM_UUID);
  assert.deepEqual(host.calls, ['start']);
});

test('what another machine has written is not overwritten', async () => {
  const overlay = join(folder, 'a-vda.overlay.qcow2');
  writeFileSync(overlay, 'of another machine');
  await assert.rejects(started('a', VM_UUID), { code: 'target-unfit' });
  assert.equal(readFileSync(overlay, 'utf8'), 'of another machine');
});

test('files of others stay when some cannot be restored', async () => {
  writeFileSync(join(folder, 'c'), 'of another machine');
  const files = ['a', 'b', 'c'].map((name) => {
    const path = join(folder, name);
    return { root: 'vda', path, format: 'raw', oldPath: undefined } as const;
  });
  const options = { repository, point };
  await assert.rejects(restoreFiles(testRun(), options, files), { code: 'target-not-empty' });
  assert.deepEqual(readdirSync(folder), ['c']);
});
