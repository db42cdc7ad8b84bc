import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import { copyPoints } from './copy/copy.ts';
import { collectGarbage } from './gc/run.ts';
import { receiptName } from './receipt.ts';
import { repairRepository } from './repair/repair.ts';
import {
  chunkRange,
  namesOf,
  onPut,
  protectDisk,
  TestRepository,
} from './testing/test-repository.ts';
import { verifyRepository } from './verify/verify.ts';

const KEY = Buffer.alloc(32, 5);
const OTHER_KEY = Buffer.alloc(32, 6);
const isDamaged = (error: unknown): boolean => isCofferError(error, 'object-damaged');

async function withReceipt() {
  const test = await TestRepository.create();
  const repository = await test.host();
  const point = await protectDisk(repository, chunkRange(0, 5));
  const arrivedAt = test.clock.now();
  const receipt = { point: point.id, arrivedAt, agent: 'a', job: 'j', occurrence: 7 };
  assert.equal(await repository.putReceipt(receipt, KEY), true);
  return { test, repository, point, receipt };
}

test('a receipt is read by who has its key, and refused when another made it', async () => {
  const { test, repository, point, receipt } = await withReceipt();
  await using _ = test;
  assert.deepEqual(await repository.receipt(point, KEY), receipt);
  await assert.rejects(repository.receipt(point, OTHER_KEY), isDamaged);
  const told: unknown[] = [];
  const found = await repository.receipts(OTHER_KEY, (error) => told.push(error.code));
  assert.deepEqual([found.size, told], [0, ['object-damaged']]);
  assert.deepEqual(
    [...(await repository.receipts(KEY, (error) => assert.fail(error))).values()],
    [receipt],
  );
  assert.equal(await repository.receipt({ id: '0'.repeat(32) }, KEY), undefined);
});

test('the first receipt counts, and a forged one is no obstacle', async () => {
  const { test, repository, point, receipt } = await withReceipt();
  await using _ = test;
  const later = { ...receipt, arrivedAt: receipt.arrivedAt + 1 };
  assert.equal(await repository.putReceipt(later, KEY), false);
  assert.deepEqual(await repository.receipt(point, KEY), receipt);
  await test.store.delete(receiptName(point.id));
  await repository.putReceipt(receipt, OTHER_KEY);
  assert.equal(await repository.putReceipt(later, KEY), true);
  assert.deepEqual(await repository.receipt(point, KEY), later);
});

test('a receipt goes along with a copy of its point, also when that was interrupted', async () => {
  const { test, repository, point, receipt } = await withReceipt();
  await using _ = test;
  await using target = await TestRepository.create({ keys: test.keys, seed: 2 });
  const dying = onPut(target.store, (name) => {
    if (name.startsWith('receipts/')) throw new Error('killed');
  });
  const copy = { source: repository, isWanted: () => true };
  const killed = copyPoints({ ...copy, target: await target.host({ store: dying }) });
  await assert.rejects(killed, /killed/);
  const to = await target.host();
  assert.equal((await to.points()).length, 1);
  assert.deepEqual((await copyPoints({ ...copy, target: to })).findings, []);
  assert.deepEqual(await to.receipt(point, KEY), receipt);
});

test('a copy for other keys has no receipt', async () => {
  const { test, repository } = await withReceipt();
  await using _ = test;
  await using target = await TestRepository.create({ seed: 2 });
  await copyPoints({ source: repository, target: await target.host(), isWanted: () => true });
  assert.deepEqual(await namesOf(target.store, 'receipts/'), []);
});

test('a damaged receipt is found, stays behind when its point is copied, and is dropped', async () => {
  const { test, repository, point } = await withReceipt();
  await using _ = test;
  const name = receiptName(point.id);
  await test.store.delete(name);
  await test.store.put(name, Buffer.from('damaged'));
  const { findings } = await verifyRepository({ repository, readFraction: 0 });
  assert.deepEqual(
    findings.map(({ subject }) => subject.name),
    [name],
  );
  await using target = await TestRepository.create({ keys: test.keys, seed: 2 });
  const copy = { source: repository, target: await target.host(), isWanted: () => true };
  const copied = await copyPoints(copy);
  assert.deepEqual([copied.pointsCopied, copied.findings.length], [[point.id], 1]);
  await repairRepository({ repository, rebuildIndex: false });
  assert.deepEqual((await verifyRepository({ repository, readFraction: 0 })).findings, []);
  assert.deepEqual(await namesOf(test.store, 'receipts/'), []);
});

test('what stands beside a point goes with it, at the latest with the next collection', async () => {
  const { test, repository, point, receipt } = await withReceipt();
  await using _ = test;
  const kept = await protectDisk(repository, chunkRange(9, 12), { item: 'kept' });
  const names = ['deleted/', 'receipts/', 'damaged/'].map((prefix) => prefix + '1'.repeat(32));
  names.push(`holds/${'1'.repeat(32)}-person`);
  for (const name of names) await test.store.put(name, Buffer.from('of a point that is gone'));
  const strangers = ['holds/x', `holds/${'1'.repeat(32)}`, 'deleted/x', 'receipts/a/b'];
  for (const name of strangers) await test.store.put(name, Buffer.from('none of ours'));
  await repository.putReceipt({ ...receipt, point: kept.id }, KEY);
  await repository.hold(kept, { holder: 'person', reason: '', by: '' });
  await repository.removePoint(point);
  assert.equal(await repository.receipt(point, KEY), undefined);
  assert.equal((await repository.points()).length, 1);
  await collectGarbage({ repository });
  const left = [];
  for (const prefix of ['damaged/', 'deleted/', 'holds/', 'receipts/']) {
    left.push(...(await namesOf(test.store, prefix)));
  }
  const ofKept = [`holds/${kept.id}-person`, receiptName(kept.id)];
  assert.deepEqual(left.sort(), [...ofKept, ...strangers].sort());
  assert.deepEqual((await verifyRepository({ repository, readFraction: 0 })).findings, []);
});
