import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isCofferError, systemProcesses } from '@coffer/base';
import { RunFolder } from './run-folder.ts';

const UUID = '12345678-0000-4000-8000-000000000000';
const base = mkdtempSync(join(tmpdir(), 'coffer-run-folder-'));
after(() => rmSync(base, { recursive: true }));
let made = 0;
const scratchFolder = (): string => join(base, String(made++));

test('only one run can have the folder, and it says whose it is as soon as it is there', () => {
  const scratch = scratchFolder();
  const folder = new RunFolder(scratch, UUID);
  folder.make(undefined);
  assert.equal(folder.liveOwner(), process.pid);
  assert.throws(
    () => new RunFolder(scratch, UUID).make(undefined),
    (error) => isCofferError(error, 'vm-busy'),
  );
  assert.deepEqual(readdirSync(scratch), ['coffer-vm-12345678'], 'nothing else is left');
  folder.leave();
  assert.deepEqual(readdirSync(scratch), []);
});

test('what tells that a guest is held stays, and no run takes the folder over it', () => {
  const scratch = scratchFolder();
  const folder = new RunFolder(scratch, UUID);
  folder.make(undefined);
  folder.mark('suspended', '7');
  folder.leave();
  assert.equal(folder.liveOwner(), undefined);
  assert.equal(folder.marked('suspended'), '7');
  assert.throws(
    () => folder.make(undefined),
    (error) => isCofferError(error, 'vm-busy'),
  );
  folder.remove();
  folder.make(undefined);
  folder.leave();
});

test('a folder that cannot be made is told', () => {
  const scratch = scratchFolder();
  writeFileSync(scratch, 'a file');
  assert.throws(
    () => new RunFolder(scratch, UUID).make(undefined),
    (error) => isCofferError(error, 'target-unwritable'),
  );
});

test('the run of an ended process is left over; one in another container may go on', () => {
  const own = systemProcesses.own!;
  const ended = { ...own, processId: 2 ** 30 };
  const cases = [
    [ended, undefined],
    [{ ...own, startedAtTicks: own.startedAtTicks - 1 }, undefined],
    [{ ...own, bootId: 'before the host was started again' }, undefined],
    [{ ...ended, pidNamespace: 'pid:[1]' }, ended.processId],
  ] as const;
  for (const [owner, expected] of cases) {
    const folder = new RunFolder(scratchFolder(), UUID);
    mkdirSync(folder.path, { recursive: true });
    writeFileSync(join(folder.path, 'owner'), JSON.stringify(owner));
    assert.equal(folder.liveOwner(), expected);
  }
});
