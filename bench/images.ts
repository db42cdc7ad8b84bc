// Claim: disk images are read and written as fast as QEMU's own tool does it.
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { diskImage, freshScratch } from './lib/inputs.ts';
import { type Command, diskUse, measure, medianOf, prepareCache } from './lib/measure.ts';
import type { Options } from './lib/options.ts';
import { addRow, type Report } from './lib/report.ts';

const MiB = 2 ** 20;
const STEP = join(import.meta.dirname, 'lib/image-step.ts');
const FORMATS = [
  { format: 'vhdx', qemu: 'vhdx' },
  { format: 'vhd', qemu: 'vpc' },
] as const;

export async function images(options: Options, report: Report): Promise<void> {
  const scratch = freshScratch('images');
  const raw = diskImage().path;
  const target = join(scratch, 'target');
  try {
    for (const { format, qemu } of FORMATS) {
      const image = join(scratch, `image.${format}`);
      const steps: Record<string, { input: string; commands: Record<string, Command> }> = {
        [`write ${format}`]: {
          input: raw,
          commands: {
            coffer: own(raw, target, format),
            'qemu-img': convert(['-f', 'raw', '-O', qemu, raw, target]),
          },
        },
        [`read ${format}`]: {
          input: image,
          commands: {
            coffer: own(image, target, 'raw'),
            'qemu-img': convert(['-f', qemu, '-O', 'raw', image, target]),
          },
        },
      };
      execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', qemu, raw, image]);
      for (const [step, { input, commands }] of Object.entries(steps)) {
        for (const [tool, command] of Object.entries(commands)) {
          const taken = await medianOf(options.repeat, async () => {
            rmSync(target, { force: true });
            prepareCache('warm', input);
            return await measure(command);
          });
          const figures = { allocatedMiB: diskUse(target).allocatedBytes / MiB };
          addRow(report, { bench: 'images', step, tool, cache: 'warm', measure: taken, figures });
        }
      }
      rmSync(image);
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function own(source: string, target: string, format: string): Command {
  return { argv: [process.execPath, STEP, source, target, format] };
}

/** Coffer syncs what it writes, so QEMU does, too. */
function convert(args: string[]): Command {
  return {
    argv: ['sh', '-c', 'qemu-img convert "$@" && sync "$last"', 'sh', ...args],
    env: { last: args.at(-1)! },
  };
}
