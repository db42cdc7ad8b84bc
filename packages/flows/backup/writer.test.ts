// A writer that has no private key: it does all but read, and costs what has changed.
import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { RunContext } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { verifyRepository, type WriterRepository } from '@coffer/repository';
import {
  chunkOf,
  DISK_CHUNK_BYTES,
  readDisk,
  stillClock,
  TestRepository,
} from '@coffer/repository/testing/test-repository.ts';
import { memoryDisk } from '@coffer/file-system/testing/memory-disk.ts';
import type { CaptureBase, VmCapture } from '@coffer/workloads/vm-capture.ts';
import { restore } from '../restore/restore.ts';
import { backup, type BackupResult } from './backup.ts';
import { backupVms, type VmResult } from './vms.ts';

const base = mkdtempSync(join(tmpdir(), 'coffer-writer-'));
after(() => rmSync(base, { recursive: true }));

async function writerOf(test: TestRepository): Promise<WriterRepository> {
  return (await test.lockedHost()).writeWith(test.keys);
}

async function protect(
  repository: WriterRepository,
  path: string,
  notebooks: string | undefined,
): Promise<BackupResult> {
  const source = {
    kind: 'files',
    path,
    parent: 'latest',
    exclude: [],
    oneFileSystem: false,
  } as const;
  return await backup(testRun(), { repository, source, item: 'item', tags: {}, notebooks });
}

test('a writer reads again what has changed, and its points are restored by others', async () => {
  await using test = await TestRepository.create();
  const folder = mkdtempSync(join(base, 'files-'));
  const notebooks = join(folder, 'notebooks');
  const source = join(folder, 'source');
  writeTree(source);
  const writer = await writerOf(test);
  const first = await protect(writer, source, notebooks);
  assert.deepEqual([first.bytesRead, first.findings], [first.bytesSource, []]);
  const again = await protect(writer, source, notebooks);
  assert.deepEqual([again.bytesRead, again.chunksNew, again.findings], [0, 0, []]);
  writeFileSync(join(source, 'a', '3'), 'changed');
  const changed = await protect(await writerOf(test), source, notebooks);
  assert.equal(changed.bytesRead, 'changed'.length);
  const repository = await test.host();
  const point = (await repository.points()).find(({ id }) => id === changed.point)!;
  const target = join(folder, 'target');
  const options = { repository, point, path: '', target, include: [], dryRun: false, verify: true };
  assert.equal((await restore(testRun(), options)).verified, true);
  assert.equal(readFileSync(join(target, 'a', '3'), 'utf8'), 'changed');
  assert.deepEqual((await verifyRepository({ repository, readFraction: 1 })).findings, []);
});

test('without its notebook a writer reads all once, and says so', async () => {
  await using test = await TestRepository.create();
  const folder = mkdtempSync(join(base, 'lost-'));
  const notebooks = join(folder, 'notebooks');
  const source = join(folder, 'source');
  writeTree(source);
  const writer = await writerOf(test);
  await protect(writer, source, notebooks);
  for (const lose of [() => rmSync(notebooks, { recursive: true }), () => damageAll(notebooks)]) {
    lose();
    const { bytesRead, bytesSource, chunksNew, findings } = await protect(
      writer,
      source,
      notebooks,
    );
    assert.deepEqual([bytesRead, chunksNew], [bytesSource, 0]);
    const codes = findings.map(({ code }) => code);
    assert.match(codes.join(), /^(notebook-lost|parent-unreadable.*)$/);
    assert.equal((await protect(writer, source, notebooks)).bytesRead, 0);
  }
  // Somebody else has made the newest point.
  await protect(await test.host(), source, undefined);
  const { findings } = await protect(writer, source, notebooks);
  assert.deepEqual(
    findings.map(({ code }) => code),
    ['notebook-lost'],
  );
});

function writeTree(source: string): void {
  for (const name of ['a', 'b']) {
    for (let index = 0; index < 5; index++) {
      const path = join(source, name, String(index));
      mkdirOf(path);
      writeFileSync(path, chunkOf(index, 1000 + index));
    }
  }
  // Large enough for a tree of its own.
  writeFileSync(join(source, 'large'), chunkOf(99, 8 * 1024 * 1024));
}

function mkdirOf(path: string): void {
  mkdirSync(join(path, '..'), { recursive: true });
}

function damageAll(folder: string): void {
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const path = join(folder, name);
    if (!statSync(path).isFile()) continue;
    const bytes = readFileSync(path);
    for (let at = 60; at < bytes.length; at += 40) bytes[at]! ^= 0xff;
    writeFileSync(path, bytes);
  }
}

function captureOf(chunks: readonly Buffer[], changed: number, from?: CaptureBase): VmCapture {
  async function* changes() {
    yield { offset: changed * DISK_CHUNK_BYTES, length: DISK_CHUNK_BYTES };
  }
  const identities = ['vda'];
  const disk = memoryDisk(Buffer.concat(chunks));
  const image = { name: 'vda', format: 'qcow2', path: '/vda', identities, disk };
  return {
    name: 'web',
    uuid: 'uuid-of-web',
    xml: '<domain/>',
    consistency: { level: 'off', reason: undefined, isFailure: false, frozenMs: 0 },
    checkpoint: { name: 'coffer-1', xml: '<domaincheckpoint/>' },
    disks: [{ ...image, changes: from && changes(), reason: undefined }],
    files: [],
    excluded: [],
    signal: new AbortController().signal,
    findings: [],
    explain: async (error) => error,
    keep: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
}

async function protectMachine(
  repository: WriterRepository,
  chunks: readonly Buffer[],
  { run = testRun(), checks = false }: { run?: RunContext; checks?: boolean } = {},
): Promise<VmResult> {
  const [result] = await backupVms(run, {
    repository,
    sources: [{ name: 'web', uuid: 'uuid-of-web', path: 'web' }],
    capture: async (_run, [from]) => [captureOf(chunks, 3, from)],
    checks,
    readsSwap: false,
    tags: {},
  });
  return result!;
}

const disk = (third: number): Buffer[] =>
  Array.from({ length: 8 }, (_, index) => chunkOf(index === 3 ? third : index, DISK_CHUNK_BYTES));

test('a writer lays the changes of a machine over its last point, on a host that knows nothing', async () => {
  await using test = await TestRepository.create();
  assert.equal((await protectMachine(await writerOf(test), disk(3))).disks[0]?.mode, 'whole');
  const second = await protectMachine(await writerOf(test), disk(100));
  assert.deepEqual([second.disks[0]?.mode, second.bytesRead], ['changes', DISK_CHUNK_BYTES]);
  const checked = await protectMachine(await writerOf(test), disk(101), { checks: true });
  assert.deepEqual(checked.findings, []);
  const repository = await test.host();
  const points = await repository.points();
  assert.deepEqual(await readDisk(repository, points[1]!), disk(100));
  assert.deepEqual(await readDisk(repository, points[2]!), disk(101));
});

test('the newest point of a machine is the base, whatever clocks said', async () => {
  await using test = await TestRepository.create();
  const times = [9_000_000_000_000, 1_000_000, 1_800_000_000_000];
  const modes: (string | undefined)[] = [];
  for (const [index, time] of times.entries()) {
    const run = testRun({ clock: stillClock(time) });
    const { disks, bytesRead } = await protectMachine(await writerOf(test), disk(index), { run });
    modes.push(`${disks[0]?.mode} ${bytesRead}`);
  }
  const size = 8 * DISK_CHUNK_BYTES;
  const changes = `changes ${DISK_CHUNK_BYTES}`;
  assert.deepEqual(modes, [`whole ${size}`, changes, changes]);
  const repository = await test.host();
  for (const point of await repository.points({ onDamaged: () => {} })) {
    const index = times.indexOf(point.takenAt);
    assert.deepEqual(await readDisk(repository, point), disk(index), String(point.takenAt));
  }
});
