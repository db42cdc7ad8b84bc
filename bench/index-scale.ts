// Claim: the memory of the chunk index does not grow with the repository. 20 million synthetic
// entries (5 TiB of disk chunks) are added, then looked up in random order by a process of its own.
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { freshScratch } from './lib/inputs.ts';
import { diskUse } from './lib/measure.ts';
import type { Options } from './lib/options.ts';
import type { Report } from './lib/report.ts';

const ENTRIES = 20_000_000;
const LOOKUPS = 2_000_000;
const MiB = 2 ** 20;

interface Step {
  seconds: number;
  rssMiB: number;
  rssAnonMiB: number;
  rssFileMiB: number;
  found: number;
}

export async function indexScale(_options: Options, report: Report): Promise<void> {
  const scratch = freshScratch('index-scale');
  const folder = join(scratch, 'index');
  try {
    const fill = run('fill', folder, ENTRIES);
    const diskMiB = diskUse(folder).allocatedBytes / MiB;
    const hits = run('find', folder, LOOKUPS);
    const misses = run('miss', folder, LOOKUPS);
    report.notes.push(
      `index-scale: ${ENTRIES / 1e6} M entries added at ${rate(ENTRIES, fill)}/s, ${memory(fill)}`,
      `index-scale: ${diskMiB.toFixed(0)} MiB on disk, ${((diskMiB * MiB) / ENTRIES).toFixed(0)} bytes an entry`,
      `index-scale: ${rate(LOOKUPS, hits)} finds/s of known ids (${hits.found} found), ${memory(hits)}`,
      `index-scale: ${rate(LOOKUPS, misses)} finds/s of unknown ids (${misses.found} found), ${memory(misses)}`,
    );
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function run(step: string, folder: string, count: number): Step {
  const script = join(import.meta.dirname, 'lib/index-scale-step.ts');
  const output = execFileSync(process.execPath, [script, step, folder, String(count)], {
    encoding: 'utf8',
    maxBuffer: MiB,
  });
  return JSON.parse(output) as Step;
}

function rate(count: number, { seconds }: Step): string {
  return Math.round(count / seconds).toLocaleString('en');
}

/** Pages of the index file are the page cache's, and go when others need the memory. */
function memory({ rssAnonMiB, rssFileMiB }: Step): string {
  return `${rssAnonMiB.toFixed(0)} MiB of own memory, ${rssFileMiB.toFixed(0)} MiB of mapped files`;
}
