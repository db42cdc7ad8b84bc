import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type CofferError, systemClock } from '@coffer/base';
import { RunFolder } from './run-folder.ts';
import { type ScratchWatch, watchScratch } from './scratch-watch.ts';
import { FakeMachine } from './testing/fake-machine.ts';

const base = mkdtempSync(join(tmpdir(), 'coffer-scratch-watch-'));
after(() => rmSync(base, { recursive: true }));

interface Watched {
  readonly machine: FakeMachine;
  readonly folder: RunFolder;
  readonly watch: ScratchWatch;
}

async function watched(scratchBytesMax = Infinity): Promise<Watched> {
  const machine = new FakeMachine();
  const { connection, domain } = machine;
  const folder = new RunFolder(mkdtempSync(join(base, 'run-')), domain.uuid);
  mkdirSync(folder.path);
  machine.job = { socket: folder.socketPath };
  const options = { connection, domain, folder, scratchBytesMax, wasRunning: true };
  return { machine, folder, watch: await watchScratch({ ...options, clock: systemClock }) };
}

/** Why it was given up. */
async function trouble({ signal }: ScratchWatch): Promise<unknown> {
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
  return (signal.reason as CofferError).code;
}

test('scratch files that take more than they may end the backup', async () => {
  const { machine, folder, watch } = await watched(1000);
  writeFileSync(folder.scratchPath('vda'), Buffer.alloc(100_000));
  assert.equal(await trouble(watch), 'scratch-full');
  await watch[Symbol.asyncDispose]();
  assert.deepEqual(machine.calls, ['abort']);
});

test('a folder that cannot be seen any more ends the backup', async () => {
  const { machine, folder, watch } = await watched();
  folder.remove();
  assert.equal(await trouble(watch), 'target-unwritable');
  await watch[Symbol.asyncDispose]();
  assert.deepEqual(machine.calls, ['abort']);
});
