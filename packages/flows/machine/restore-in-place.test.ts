import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { CofferError, type ErrorCode, type RunEvent } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import type { RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import { TestRepository } from '@coffer/repository/testing/test-repository.ts';
import { stampOf, undoRecordsIn, type UndoRecords } from './undo-record.ts';
import {
  chunksIn,
  type FakeVmHost,
  fakeVmHost,
  overwriteChunk,
  pointOf,
  VM_UUID,
  writeChunks,
} from './testing/fake-vm-host.ts';
import { goOnWithMemory } from './memory.ts';
import { type InPlaceOptions, previewInPlace, restoreInPlace } from './restore-in-place.ts';
import { acceptOriginal, acceptStarted, undoOriginal } from './undo.ts';

const base = mkdtempSync(join(tmpdir(), 'coffer-vm-original-'));
const repositories = await TestRepository.create();
after(async () => {
  await repositories[Symbol.asyncDispose]();
  rmSync(base, { recursive: true });
});

let repository: UnlockedRepository;
let folder: string;
let image: string;
let point: RecoveryPoint;
let host: FakeVmHost;
let records: UndoRecords;
const VM = { uuid: VM_UUID, vm: 'web' };

/** The point has 9 where the machine has 1 now. */
beforeEach(async () => {
  folder = mkdtempSync(join(base, 'test-'));
  image = join(folder, 'vda.raw');
  repository ??= await repositories.host();
  writeChunks(image, 9, 2, 3);
  point = await pointOf(repository, image);
  writeChunks(image, 1, 2, 3);
  host = fakeVmHost(image);
  records = undoRecordsIn(join(folder, 'records'));
});

function restored(options: Partial<InPlaceOptions> = {}) {
  const afterwards = 'leave-off' as const;
  const all = { repository, point, host, connect: 'test:', delta: false, records, afterwards };
  return restoreInPlace(testRun(), { ...all, ...options });
}

function undone(from = records) {
  return undoOriginal(testRun(), { host, records: from }, VM);
}

function code(expected: ErrorCode) {
  return { code: expected };
}

function leftBeside(): string[] {
  return readdirSync(folder).filter((name) => name.includes('.coffer-'));
}

test('what was changed in place comes back, as long as nothing was written since', async () => {
  await restored({ delta: true });
  assert.deepEqual(chunksIn(image), [9, 2, 3]);
  await undone();
  assert.deepEqual(chunksIn(image), [1, 2, 3]);
  assert.deepEqual(leftBeside(), []);
  await assert.rejects(undone(), code('undo-missing'));
});

test('what was changed in place does not come back mixed with what a guest has written since', async () => {
  await restored({ delta: true });
  overwriteChunk(image, 1, 77);
  await assert.rejects(undone(), code('undo-too-late'));
  assert.deepEqual(chunksIn(image), [9, 77, 3]);
  acceptOriginal(records, VM);
  assert.deepEqual(leftBeside(), []);
  await restored({ delta: true });
  host.machine.isOff = false;
  await assert.rejects(undone(), code('undo-too-late'));
  assert.equal(host.machine.isOff, false, 'it goes on');
});

test('of a machine that runs on what was changed in place nothing is kept, of others all is', async () => {
  await restored({ delta: true });
  acceptStarted(records, VM_UUID);
  assert.equal(records.read(VM_UUID), undefined);
  assert.deepEqual(leftBeside(), []);
  writeChunks(image, 1, 2, 3);
  await restored();
  acceptStarted(records, VM_UUID);
  overwriteChunk(image, 1, 77);
  await undone();
  assert.deepEqual(chunksIn(image), [1, 2, 3]);
});

test('old images are kept until they are accepted, also where another disk was changed in place', async () => {
  await restored();
  const record = records.read(VM_UUID)!;
  const keptPath = join(folder, 'vdb.kept');
  const device = { kind: 'kept', path: image, format: 'raw', keptPath } as const;
  records.write({ ...record, replacements: [...record.replacements, device] });
  assert.equal(acceptStarted(records, VM_UUID), false);
  assert.deepEqual(leftBeside(), ['vda.raw.coffer-old']);
  await assert.rejects(undone(), code('undo-too-late'));
  acceptOriginal(records, VM);
  assert.deepEqual(leftBeside(), []);
});

test('what another machine uses is not replaced', async () => {
  host.othersUsing = async () => new Map([[image, 'mail']]);
  await assert.rejects(restored(), code('target-unfit'));
  assert.deepEqual(chunksIn(image), [1, 2, 3]);
  assert.deepEqual([records.read(VM_UUID), leftBeside()], [undefined, []]);
});

test('a machine is changed by one run at a time', async () => {
  const other = await repositories.host();
  let second: Promise<unknown> | undefined;
  const stop = host.stop.bind(host);
  host.stop = async (run, uuid) => {
    second ??= assert.rejects(restored({ repository: other }), code('vm-busy'));
    await second;
    await assert.rejects(undone(), code('vm-busy'));
    assert.throws(() => acceptOriginal(records, VM), code('vm-busy'));
    await stop(run, uuid);
  };
  await restored();
  assert.ok(second);
  assert.deepEqual(chunksIn(image), [9, 2, 3]);
  host.stop = stop;
  await undone();
  assert.deepEqual(chunksIn(image), [1, 2, 3]);
});

test('what another user has kept of an old state is not taken for one’s own', async () => {
  await restored();
  overwriteChunk(image, 1, 5);
  const ofOther = undoRecordsIn(join(folder, 'records of another user'));
  for (const delta of [false, true]) {
    await assert.rejects(restored({ delta, records: ofOther }), code('target-unfit'));
  }
  assert.deepEqual(chunksIn(image), [9, 5, 3]);
  await undone();
  assert.deepEqual(chunksIn(image), [1, 2, 3]);
});

test('a machine that is started while new images are made is stopped before they take their place', async () => {
  host.giveFiles = async () => void (host.machine.isOff = false);
  await restored();
  assert.deepEqual(host.calls, ['stop']);
  assert.equal(host.machine.isOff, true);
});

test('a machine that is saved keeps its disks', async () => {
  host.machine.isSaved = true;
  await assert.rejects(restored(), code('vm-saved'));
  host.machine.isSaved = false;
  await restored();
  host.machine.isSaved = true;
  await assert.rejects(undone(), code('vm-saved'));
  assert.deepEqual(chunksIn(image), [9, 2, 3]);
});

test('a failure stays the one that is told when undoing fails, too', async () => {
  host.stop = async () => {
    throw new CofferError('agent-unavailable');
  };
  host.find = async (uuid) => {
    if (records.read(uuid)) throw new CofferError('libvirt-unreachable');
    return await fakeVmHost(image).find(uuid);
  };
  await assert.rejects(restored(), (error) => {
    assert.ok(error instanceof SuppressedError);
    assert.equal((error.suppressed as CofferError).code, 'agent-unavailable');
    return true;
  });
});

test('a machine that is gone and cannot be defined can be restored again', async () => {
  rmSync(image);
  host.machine.isThere = false;
  host.defineAgain = async () => {
    throw new CofferError('libvirt-failed');
  };
  await assert.rejects(restored(), code('libvirt-failed'));
  assert.ok(!existsSync(image));
  host.defineAgain = async () => {};
  await restored();
  assert.deepEqual(chunksIn(image), [9, 2, 3]);
});

test('memory that a killed run has left is replaced', async () => {
  const memory = join(folder, 'memory');
  writeChunks(memory, 4);
  const files = [{ name: 'file-memory', role: 'memory', path: memory }] as const;
  const withMemory = await pointOf(repository, image, { files });
  const place = join(folder, 'place');
  mkdirSync(place);
  writeChunks(join(place, `${VM_UUID}.memory`), 7);
  let read: number[] | undefined;
  host.goOn = async (_uuid, path) => void (read = chunksIn(path));
  const go = { repository, point: withMemory, host, uuid: VM_UUID, folder: place };
  await goOnWithMemory(testRun(), go);
  assert.deepEqual(read, [4]);
  assert.deepEqual(readdirSync(place), []);
});

test('an undo that was interrupted goes on where it was', async () => {
  await restored({ delta: true });
  const remove = records.remove.bind(records);
  records.remove = () => {
    throw new CofferError('target-unwritable');
  };
  await assert.rejects(undone(), code('target-unwritable'));
  records.remove = remove;
  await undone();
  assert.deepEqual(chunksIn(image), [1, 2, 3]);
  assert.deepEqual([records.read(VM_UUID), leftBeside()], [undefined, []]);
});

test('a machine that is saved while new images are made keeps its disks', async () => {
  host.giveFiles = async () => void (host.machine.isSaved = true);
  await assert.rejects(restored(), code('vm-saved'));
  assert.deepEqual(chunksIn(image), [1, 2, 3]);
  assert.deepEqual([records.read(VM_UUID), leftBeside()], [undefined, []]);
});

test('what was written to a device is told, by whatever name', async (context) => {
  const backing = join(folder, 'backing');
  writeChunks(backing, 1, 2, 3);
  const device = execFileSync('losetup', ['--find', '--show', backing]).toString().trim();
  context.after(() => execFileSync('losetup', ['--detach', device]));
  const before = stampOf({ path: device });
  assert.notEqual(before, undefined);
  utimesSync(device, 1, 1);
  assert.equal(stampOf({ path: device }), before);
  const { rdev } = statSync(device);
  const other = join(folder, 'other-name');
  const numbers = [Math.floor(rdev / 256), rdev % 256].map(String);
  execFileSync('mknod', [other, 'b', ...numbers]);
  execFileSync('dd', ['if=/dev/zero', `of=${other}`, 'bs=4k', 'count=1', 'conv=fsync'], {
    stdio: 'ignore',
  });
  assert.notEqual(stampOf({ path: device }), before);
});

test('a preview says what would happen to the machine, and changes nothing', async () => {
  const previewOf = (more: Partial<InPlaceOptions> = {}) =>
    previewInPlace(testRun(), {
      repository,
      point,
      host,
      delta: false,
      afterwards: 'leave-off',
      ...more,
    });
  host.machine.isOff = false;
  const running = { vm: 'web', isGone: false, willStop: true, findings: [] };
  assert.deepEqual(await previewOf(), { ...running, cannotBeUndone: false });
  assert.deepEqual(await previewOf({ delta: true, afterwards: 'start' }), {
    ...running,
    cannotBeUndone: true,
  });
  await assert.rejects(previewOf({ afterwards: 'go-on' }), code('memory-missing'));
  host.machine.isThere = false;
  assert.equal((await previewOf()).isGone, true);
  assert.deepEqual([host.calls, chunksIn(image), leftBeside()], [[], [1, 2, 3], []]);
});

test('a machine that is started after it was changed in place keeps nothing of its old state', async () => {
  const { isFinal } = await restored({ delta: true, afterwards: 'start' });
  assert.deepEqual([isFinal, host.machine.isOff, leftBeside()], [true, false, []]);
  assert.equal(records.read(VM_UUID), undefined);
});

test('a run that is ended while the guest shuts down has its old state back, and says why it took', async () => {
  const end = new AbortController();
  const told: RunEvent[] = [];
  host.stop = async ({ signal }) => {
    host.calls.push('stop');
    end.abort(new CofferError('interrupted'));
    signal.throwIfAborted();
  };
  const run = testRun({ signal: end.signal, tell: (event) => told.push(event) });
  const all = { repository, point, host, connect: 'test:', delta: true, records };
  await assert.rejects(
    restoreInPlace(run, { ...all, afterwards: 'leave-off' }),
    code('interrupted'),
  );
  assert.deepEqual([chunksIn(image), leftBeside()], [[1, 2, 3], []]);
  assert.equal(records.read(VM_UUID), undefined);
  assert.ok(told.some((event) => event.kind === 'milestone' && event.at === 'record-written'));
});
