import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '@coffer/base';
import { StartedKeeper } from './start-keeper.ts';

const PASSPHRASE = 'a passphrase that nobody may see';
const ROUNDS_MAX = 3000;

/** The first process that `parent` has started, once it has. */
async function childOf(parent: number): Promise<number> {
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const [child] = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').split(' ');
    if (child !== undefined && child !== '') return Number(child);
    await systemClock.sleep(20);
  }
  return assert.fail('no child was started');
}

test('neither the keeper nor what it starts shows the passphrase', async () => {
  const place = {
    uuid: `${process.pid}-0000`.padStart(13, '0'),
    repository: join(tmpdir(), 'none'),
  };
  await using _keeper = StartedKeeper.start(place, PASSPHRASE);
  const keeper = await childOf(process.pid);
  const server = await childOf(keeper);
  for (const part of ['environ', 'cmdline']) {
    for (const process of [keeper, server]) {
      const shown = readFileSync(`/proc/${process}/${part}`, 'utf8');
      assert.ok(shown.length > 0 && !shown.includes(PASSPHRASE), `${part} of ${process}`);
    }
  }
});
