// Claim: `restore --delta` takes a disk back many times faster than a restore when one percent of it
// has changed: in runs of 1 MiB, as an update of a system does it, and, the hardest case, in blocks of
// 4 KiB that are scattered over nearly all chunks.
import { closeSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { changeDisk } from './lib/changes.ts';
import { coffer } from './lib/coffer.ts';
import { diskImage, freshScratch } from './lib/inputs.ts';
import { type Measure, measure, prepareCache } from './lib/measure.ts';
import type { Options } from './lib/options.ts';
import { seededRandom } from './lib/random.ts';
import { addRow, type Report } from './lib/report.ts';

const SHARE = 0.01;
const RUN_BYTES = 2 ** 20;

export async function rollback(_options: Options, report: Report): Promise<void> {
  const scratch = freshScratch('rollback');
  const { path: image } = diskImage();
  const tool = coffer(scratch);
  const add = (step: string, taken: Measure): void => {
    const row = { bench: 'rollback', step, tool: 'coffer', cache: 'warm', measure: taken };
    addRow(report, { ...row, figures: {} });
  };
  try {
    await measure(tool.init());
    await measure(tool.backupDisk(image));
    const { command, path } = tool.restore(scratch);
    prepareCache('warm', tool.repository);
    add('restore', await measure(command));
    const changes: Record<string, () => void> = {
      'restore --delta, runs of 1 MiB': () => changeRuns(path),
      'restore --delta, scattered 4 KiB': () => void changeDisk(path, SHARE, 1),
    };
    for (const [step, change] of Object.entries(changes)) {
      change();
      prepareCache('warm', path);
      add(step, await measure({ ...command, argv: [...command.argv, '--delta'] }));
      execFileSync('cmp', [image, path]);
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Writes bytes of one place to another, run by run. */
function changeRuns(path: string): void {
  const random = seededRandom(1);
  const file = openSync(path, 'r+');
  const bytes = Buffer.alloc(RUN_BYTES);
  const allocated = Number(execFileSync('du', ['-B1', path], { encoding: 'utf8' }).split('\t')[0]);
  const size = Number(execFileSync('stat', ['-c', '%s', path], { encoding: 'utf8' }));
  const place = (): number => Math.floor((random() * (size - RUN_BYTES)) / 4096) * 4096;
  for (let done = 0; done < allocated * SHARE; done += RUN_BYTES) {
    readSync(file, bytes, 0, RUN_BYTES, place());
    bytes[0]! ^= 0xff;
    writeSync(file, bytes, 0, RUN_BYTES, place());
  }
  closeSync(file);
}
