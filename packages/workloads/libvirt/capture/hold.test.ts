import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type HeldGuest, holdGuest } from './hold.ts';
import { type Mark, RunFolder } from './run-folder.ts';
import { FakeMachine, fastClock } from './testing/fake-machine.ts';

const base = mkdtempSync(join(tmpdir(), 'coffer-hold-'));
after(() => rmSync(base, { recursive: true }));

function held(machine: FakeMachine, folder: RunFolder): Promise<HeldGuest> {
  const { connection, domain } = machine;
  const guest = { connection, domain, power: 'running', hasAgent: true } as const;
  return holdGuest({ ...guest, demanded: 'best', pauses: false, folder, clock: fastClock() });
}

test('a guest is brought to rest, and let go', async () => {
  const machine = new FakeMachine();
  const folder = new RunFolder(mkdtempSync(join(base, 'run-')), machine.domain.uuid);
  mkdirSync(folder.path);
  const guest = await held(machine, folder);
  assert.equal(guest.isFrozen, true);
  assert.notEqual(folder.marked('frozen'), undefined);
  assert.equal((await guest.release()).level, 'application');
  assert.deepEqual(machine.calls, ['scripts freeze', 'freeze', 'thaw', 'scripts thaw']);
  assert.equal(folder.marked('frozen'), undefined);
});

test('applications are let go when what follows their rest fails', async () => {
  const machine = new FakeMachine();
  const folder = new RunFolder(mkdtempSync(join(base, 'run-')), machine.domain.uuid);
  mkdirSync(folder.path);
  const mark = folder.mark.bind(folder);
  folder.mark = (name: Mark, detail?: string) => {
    if (!detail?.endsWith(' ')) throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
    mark(name, detail);
  };
  await assert.rejects(held(machine, folder), { code: 'ENOSPC' });
  assert.deepEqual(machine.calls, ['scripts freeze', 'scripts thaw']);
});

test('the mark of a guest that does not thaw stays', async () => {
  const machine = new FakeMachine();
  const folder = new RunFolder(mkdtempSync(join(base, 'run-')), machine.domain.uuid);
  mkdirSync(folder.path);
  machine.staysFrozen = true;
  await assert.rejects(held(machine, folder), { code: 'agent-unavailable' });
  assert.notEqual(folder.marked('frozen'), undefined);
  assert.equal(machine.calls.at(-1), 'scripts thaw');
});
