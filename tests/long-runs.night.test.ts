/**
 * What goes on for as long as one likes, for the hours of a night: each by its own command, with a seed
 * that nobody has tried, which it prints. `npm test` runs a slice of each.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';

const LONG_RUNS = {
  simulation: ['--seeds', '20000'],
  crash: ['--rounds', '150'],
  'power-loss': ['--variants', '6'],
  damage: ['--samples', '120'],
  fuzz: ['--seconds', '2400'],
};

for (const [name, options] of Object.entries(LONG_RUNS)) {
  test(`${name} ${options.join(' ')}`, async () => {
    const command = [
      '--disable-warning=ExperimentalWarning',
      join(import.meta.dirname, name, 'run.ts'),
    ];
    const child = spawn(process.execPath, [...command, ...options]);
    for (const said of [child.stdout, child.stderr]) {
      said.on('data', (piece: Buffer) => void process.stdout.write(piece));
    }
    const [code] = (await once(child, 'close')) as [number | null];
    assert.equal(code, 0);
  });
}
