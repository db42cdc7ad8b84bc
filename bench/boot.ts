// Claim: a guest boots from a recovery point at most 1.3 times as slowly as from a plain disk.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { BootedGuest } from '../tests/guests/booted-guest.ts';
import { buildMiniGuest, writeBootableDisk } from '../tests/guests/mini-guest.ts';
import { coffer } from './lib/coffer.ts';
import { freshScratch } from './lib/inputs.ts';
import { measure } from './lib/measure.ts';
import type { Options } from './lib/options.ts';
import type { Report } from './lib/report.ts';

const ROUNDS = 5;
const DISK_MIB = 256;

export async function boot(_options: Options, report: Report): Promise<void> {
  const scratch = freshScratch('boot');
  const disk = join(scratch, 'disk.raw');
  const socket = join(scratch, 'socket');
  try {
    writeBootableDisk(buildMiniGuest(scratch), disk, DISK_MIB);
    const tool = coffer(scratch);
    await measure(tool.init());
    await measure(tool.backupDisk(disk));
    const { argv, env } = tool.backupDisk(disk);
    const words = argv.slice(1, argv.indexOf('backup'));
    const plain: number[] = [];
    const point: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      // A copy and an overlay for each round, so that each boot is the first.
      const copy = join(scratch, 'copy.raw');
      execFileSync('cp', ['--sparse=always', disk, copy]);
      plain.push(await bootMs(copy, join(scratch, `plain-${round}`)));
      const overlay = join(scratch, `overlay-${round}`);
      const serve = [...words, 'serve', 'bench@latest', '--socket', socket, '--writable', overlay];
      const server = spawn(argv[0]!, serve, { env: { ...process.env, ...env }, stdio: 'ignore' });
      while (!existsSync(socket)) await new Promise((resolve) => setTimeout(resolve, 20));
      point.push(await bootMs(`nbd+unix:///?socket=${socket}`, join(scratch, `point-${round}`)));
      const end = new Promise((resolve) => server.once('exit', resolve));
      server.kill('SIGTERM');
      await end;
    }
    const [plainMs, pointMs] = [median(plain), median(point)];
    report.notes.push(
      `boot: a guest answers after ${plainMs} ms from a plain disk, ${pointMs} ms from a point: ${(pointMs / plainMs).toFixed(2)} times`,
    );
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function bootMs(disk: string, folder: string): Promise<number> {
  mkdirSync(folder);
  await using guest = await BootedGuest.boot(disk, folder);
  return guest.bootMs;
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
