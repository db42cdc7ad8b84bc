// Claim: of a repository of 100,000 points, those of one item are listed within 0.3 s, and within 5 s
// by a process that has no cache yet. How that goes on is measured up to 1,000,000 points: the limit
// that `docs/concepts/repository.md` states.
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { freshScratch } from './lib/inputs.ts';
import type { Options } from './lib/options.ts';
import type { Report } from './lib/report.ts';

const COUNTS = [100_000, 1_000_000];
const MiB = 2 ** 20;

interface Step {
  readonly points: number;
  readonly seconds: number;
  /** For the same once more, in the same process. */
  readonly againSeconds: number;
  readonly rssMiB: number;
}

export async function points(_options: Options, report: Report): Promise<void> {
  for (const count of COUNTS) {
    const scratch = freshScratch('points');
    try {
      const made = run('make', scratch, count);
      report.notes.push(`points: ${count} made in ${made.seconds.toFixed(0)} s`);
      for (const step of ['item', 'item', 'all'] as const) {
        report.notes.push(`points: ${count}, ${step}: ${told(run(step, scratch, count))}`);
      }
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  }
}

function told({ points: listed, seconds, againSeconds, rssMiB }: Step): string {
  const again = againSeconds > 0 ? `, ${againSeconds.toFixed(3)} s again` : '';
  return `${seconds.toFixed(3)} s for ${listed} points${again}, ${rssMiB.toFixed(0)} MiB`;
}

/** Each is a process of its own; what it caches, the next one finds. */
function run(step: string, scratch: string, count: number): Step {
  const script = join(import.meta.dirname, 'lib/points-step.ts');
  const output = execFileSync(process.execPath, [script, step, scratch, String(count)], {
    encoding: 'utf8',
    maxBuffer: MiB,
  });
  return JSON.parse(output) as Step;
}
