import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Clock } from '@coffer/base';
import { PAUSED_BY_IO_ERROR } from '../connection.ts';
import { cleanLeftovers, type Left } from './leftovers.ts';
import { type Mark, RunFolder } from './run-folder.ts';
import { FakeMachine, fastClock, PAUSED_BY_USER } from './testing/fake-machine.ts';

const base = mkdtempSync(join(tmpdir(), 'coffer-leftovers-'));
after(() => rmSync(base, { recursive: true }));

/** What a run that was killed has left. */
function killed(machine: FakeMachine, marks: Partial<Record<Mark, string>> = {}): RunFolder {
  const folder = new RunFolder(mkdtempSync(join(base, 'run-')), machine.domain.uuid);
  mkdirSync(folder.path);
  for (const [mark, detail] of Object.entries(marks)) folder.mark(mark as Mark, detail);
  return folder;
}

function cleaned(machine: FakeMachine, folder: RunFolder, clock: Clock): Promise<Left> {
  const { connection, domain } = machine;
  const { signal } = new AbortController();
  return cleanLeftovers({ connection, domain, clock, signal, folder, waitMs: 1000 });
}

test('a machine that paused when its scratch space ran out goes on', async () => {
  const machine = new FakeMachine();
  const folder = killed(machine);
  machine.job = { socket: folder.socketPath };
  machine.pause(PAUSED_BY_IO_ERROR);
  await cleaned(machine, folder, fastClock());
  assert.deepEqual(machine.calls, ['abort', 'resume']);
  assert.equal(machine.state, 'running');
  assert.ok(!existsSync(folder.path));
});

test('a machine that somebody has paused stays so', async () => {
  const machine = new FakeMachine();
  const folder = killed(machine);
  machine.job = { socket: folder.socketPath };
  machine.pause(PAUSED_BY_USER);
  await cleaned(machine, folder, fastClock());
  assert.deepEqual(machine.calls, ['abort']);
});

test('a machine that was started for the backup is ended', async () => {
  const machine = new FakeMachine();
  machine.pause(PAUSED_BY_USER);
  await cleaned(machine, killed(machine, { started: '7' }), fastClock());
  assert.deepEqual(machine.calls, ['destroy']);
  const used = new FakeMachine();
  await cleaned(used, killed(used, { started: '7' }), fastClock());
  assert.deepEqual(used.calls, [], 'somebody has let it run');
});

test('a guest that was paused goes on before its agent is asked', async () => {
  const machine = new FakeMachine();
  machine.pause(PAUSED_BY_USER);
  await cleaned(machine, killed(machine, { frozen: '7 ', suspended: '7' }), fastClock());
  assert.deepEqual(machine.calls, ['resume', 'thaw', 'scripts thaw']);
});

test('applications are let go when the memory of the guest is written', async () => {
  const machine = new FakeMachine();
  const folder = killed(machine, { frozen: '7 30000' });
  machine.pause(PAUSED_BY_USER);
  machine.job = { socket: undefined };
  const clock = fastClock(60_000);
  await assert.rejects(cleaned(machine, folder, clock), { code: 'vm-busy' });
  assert.equal(folder.marked('frozen'), '7 30000', 'the next run knows');
  machine.job = undefined;
  machine.state = 'running';
  assert.equal(await cleaned(machine, folder, clock), undefined);
  assert.deepEqual(machine.calls, ['thaw', 'scripts thaw']);
});

test('applications of a guest whose agent does not answer are left to a later run', async () => {
  const machine = new FakeMachine();
  const folder = killed(machine, { frozen: '7 30000' });
  machine.answers = false;
  assert.deepEqual(await cleaned(machine, folder, fastClock(60_000)), { selfThawsAt: 30_000 });
});

test('a machine that was started again is another guest', async () => {
  const machine = new FakeMachine();
  await cleaned(machine, killed(machine, { frozen: '6 30000' }), fastClock(60_000));
  assert.deepEqual(machine.calls, []);
});
