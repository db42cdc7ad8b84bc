// What a backup of a machine may build on while garbage is collected.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testRun } from '@coffer/base/testing/run.ts';
import type { Disk } from '@coffer/disk/disk.ts';
import {
  collectGarbage,
  repairRepository,
  type UnlockedRepository,
  verifyRepository,
} from '@coffer/repository';
import { packObjectName } from '@coffer/repository/pack/pack-codec.ts';
import { GC_PLAN_DEFAULTS } from '@coffer/repository/gc/plan.ts';
import { chunkOf, namesOf, TestRepository } from '@coffer/repository/testing/test-repository.ts';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import type { CaptureBase, VmCapture } from '@coffer/workloads/vm-capture.ts';
import { backupVms, type VmResult } from './vms.ts';

const CHUNK_BYTES = 256 * 1024;
const EAGER = { ...GC_PLAN_DEFAULTS, wasteMax: 0 };

function diskOf(chunks: readonly Buffer[]): Disk {
  const bytes = Buffer.concat(chunks);
  const sizeBytes = bytes.length;
  return {
    sizeBytes,
    read: async (offset, target) => void bytes.copy(target, 0, offset, offset + target.length),
    extents: (range = { offset: 0, length: sizeBytes }) => [{ ...range, kind: 'data' }],
    close: async () => {},
  };
}

/** A machine of one disk; with a base, only its fourth chunk is told to have changed. */
function captureOf(uuid: string, chunks: readonly Buffer[], base: CaptureBase | undefined) {
  async function* changes(): AsyncGenerator<{ offset: number; length: number }> {
    yield { offset: 3 * CHUNK_BYTES, length: CHUNK_BYTES };
  }
  const capture: VmCapture = {
    name: uuid,
    uuid,
    xml: '<domain/>',
    consistency: { level: 'off', reason: undefined, isFailure: false, frozenMs: 0 },
    checkpoint: { name: 'coffer-1', xml: '<domaincheckpoint/>' },
    disks: [
      {
        name: 'vda',
        format: 'qcow2',
        path: '/vda',
        identities: ['vda'],
        disk: diskOf(chunks),
        changes: base && changes(),
        reason: undefined,
      },
    ],
    files: [],
    excluded: [],
    signal: new AbortController().signal,
    findings: [],
    explain: async (error) => error,
    keep: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
  return capture;
}

async function protect(
  repository: UnlockedRepository,
  uuid: string,
  chunks: readonly Buffer[],
  meanwhile: () => Promise<void> = async () => {},
): Promise<VmResult> {
  const [result] = await backupVms(testRun(), {
    repository,
    sources: [{ name: uuid, uuid, path: uuid }],
    capture: async (_run, [base]) => {
      await meanwhile();
      return [captureOf(uuid, chunks, base)];
    },
    item: undefined,
    checks: false,
    readsSwap: false,
    tags: {},
  });
  return result!;
}

async function remove(repository: UnlockedRepository, id: string): Promise<void> {
  await repository.removePoint((await repository.points()).find((point) => point.id === id)!);
}

function chunks(changed?: number): Buffer[] {
  return Array.from({ length: 8 }, (_, index) =>
    chunkOf(index === 3 && changed !== undefined ? changed : index, CHUNK_BYTES),
  );
}

test('changes are laid over the newest point of a machine, whatever its item', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const first = await protect(repository, 'web', chunks());
  assert.equal(first.disks[0]?.mode, 'whole');
  const second = await protect(repository, 'web', chunks(100));
  assert.equal(second.disks[0]?.mode, 'changes');
  assert.equal(second.bytesRead, CHUNK_BYTES);
  assert.equal(second.item, first.item);
});

test('a machine whose name another one had gets an item of its own', async () => {
  await using test = await TestRepository.create();
  const repository = await test.host();
  const source = { name: 'web', path: 'web' };
  const items: string[] = [];
  for (const uuid of ['11111111-old', '22222222-new', '11111111-old']) {
    const [result] = await backupVms(testRun(), {
      repository,
      sources: [{ ...source, uuid }],
      capture: async (_run, [base]) => [captureOf(uuid, chunks(), base)],
      item: undefined,
      checks: false,
      readsSwap: false,
      tags: {},
    });
    items.push(result!.item);
  }
  assert.deepEqual(items, ['vm:web', 'vm:web-22222222', 'vm:web']);
});

test('a point whose chunks a collection is about to sweep is no base', async () => {
  await using test = await TestRepository.create();
  const [collector, writer] = [await test.host(), await test.host()];
  const gone = await protect(collector, 'gone', chunks());
  await remove(collector, gone.point);
  const collected = Promise.withResolvers<void>();
  let last: Promise<VmResult> | undefined;
  let late: VmResult | undefined;
  const put: ObjectStore['put'] = async (name, bytes, options) => {
    // A writer that the collection waits for uses again what is about to be condemned.
    if (name === 'gc/00000001-condemned') late = await protect(writer, 'web', chunks());
    await test.store.put(name, bytes, options);
    if (name !== 'gc/00000001-waiting') return;
    // The next one begins when the collection waits for nobody any more, and ends after the sweep.
    const begun = Promise.withResolvers<void>();
    last = protect(writer, 'web', chunks(100), async () => {
      begun.resolve();
      await collected.promise;
    });
    await begun.promise;
    await remove(writer, late!.point);
  };
  const slow = new Proxy(test.store, {
    get(target, property) {
      const value: unknown = property === 'put' ? put : Reflect.get(target, property);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  await collectGarbage({ repository: await test.host({ store: slow }), plan: EAGER });
  collected.resolve();
  const { point } = await last!;
  const repository = await test.host();
  const { findings } = await verifyRepository({ repository, readFraction: 1 });
  assert.deepEqual(findings, []);
  assert.deepEqual(
    (await repository.points()).map(({ id }) => id),
    [point],
  );
});

test('nothing is built on a point that a repair has found to miss chunks', async () => {
  await using test = await TestRepository.create({ packSizeBytes: 1000 });
  const repository = await test.host();
  const chunks = [1, 2, 3, 4].map((value) => chunkOf(value));
  const disk = chunks.map((chunk) =>
    Buffer.concat([chunk, Buffer.alloc(CHUNK_BYTES - chunk.length)]),
  );
  await protect(repository, 'web', disk);
  const again = await protect(repository, 'web', disk);
  assert.equal(again.disks[0]!.mode, 'changes');
  await losePackOfFirstChunk(test, repository);
  const damaged = await test.host();
  const { pointsDamaged } = await repairRepository({ repository: damaged, rebuildIndex: false });
  assert.equal(pointsDamaged.length, 2);
  const whole = await protect(await test.host(), 'web', disk);
  assert.equal(whole.disks[0]!.mode, 'whole');
  const fresh = await test.host();
  await repairRepository({ repository: fresh, rebuildIndex: false });
  const marks = [];
  for await (const { name } of test.store.list('damaged/')) marks.push(name);
  assert.deepEqual(marks, [], 'what was missing is stored again');
  assert.equal((await protect(await test.host(), 'web', disk)).disks[0]!.mode, 'changes');
});

test('nothing is built on a point whose index objects are lost', async () => {
  await using test = await TestRepository.create();
  await protect(await test.host(), 'web', chunks());
  for (const name of await namesOf(test.store, 'index/')) await test.store.delete(name);
  const repository = await test.host();
  const { disks, point } = await protect(repository, 'web', chunks(100));
  assert.equal(disks[0]!.mode, 'whole');
  const { pointsDamaged } = await verifyRepository({ repository, readFraction: 1 });
  assert.ok(!pointsDamaged.includes(point));
  assert.equal((await protect(repository, 'web', chunks(101))).disks[0]!.mode, 'changes');
});

async function losePackOfFirstChunk(
  test: TestRepository,
  repository: UnlockedRepository,
): Promise<void> {
  await repository.index.synchronize(test.store);
  const [point] = await repository.points();
  const root = point!.roots.find(({ name }) => name === 'vda')!;
  const { children } = await repository.reader().readNode(Buffer.from(root.root, 'hex'));
  const { packNumber } = repository.index.find(children[0]!)!;
  await test.store.delete(packObjectName(repository.index.requiredPack(packNumber).pack));
}
