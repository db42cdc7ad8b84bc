// Claims: the NBD client reads nearly as fast as nbdcopy, the server serves nearly as fast as
// nbdkit, and a recovery point is read over NBD nearly as fast as it is restored; and random reads
// of a point answer in milliseconds.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { diskImage, freshScratch } from './lib/inputs.ts';
import { type Command, type Measure, measure, medianOf, prepareCache } from './lib/measure.ts';
import { coffer } from './lib/coffer.ts';
import type { Options } from './lib/options.ts';
import { addRow, type Report } from './lib/report.ts';

const STEP = join(import.meta.dirname, 'lib/nbd-step.ts');
const RANDOM_READS = 2000;

export async function nbd(options: Options, report: Report): Promise<void> {
  const scratch = freshScratch('nbd');
  const image = diskImage().path;
  const run = new Run(scratch, options, report);
  try {
    await run.against(
      'qemu-nbd',
      qemuNbd(run.socket, image),
      {
        'client: qemu-nbd to null, coffer': [process.execPath, STEP, 'read', run.uri],
        'client: qemu-nbd to null, nbdcopy': ['nbdcopy', run.uri, 'null:'],
      },
      image,
    );
    await run.against(
      'nbdkit',
      nbdkit(run.socket, image),
      {
        'server: nbdkit file to nbdcopy': ['nbdcopy', run.uri, 'null:'],
      },
      image,
    );
    const own = [process.execPath, STEP, 'serve', run.socket, image];
    await run.against(
      'coffer',
      own,
      { 'server: coffer raw to nbdcopy': ['nbdcopy', run.uri, 'null:'] },
      image,
    );
    await run.point(image);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

class Run {
  readonly socket: string;
  readonly uri: string;
  readonly #scratch: string;
  readonly #options: Options;
  readonly #report: Report;

  constructor(scratch: string, options: Options, report: Report) {
    this.#scratch = scratch;
    this.#options = options;
    this.#report = report;
    this.socket = join(scratch, 'socket');
    this.uri = `nbd+unix:///?socket=${this.socket}`;
  }

  /** Measures clients of one server. */
  async against(
    tool: string,
    server: string[],
    clients: Record<string, string[]>,
    input: string,
    env: Record<string, string> = {},
  ): Promise<void> {
    prepareCache('warm', input);
    const process_ = await started(server, this.socket, env);
    try {
      // The first to read would find a server that has not read yet.
      if (tool !== 'coffer') execFileSync('nbdcopy', [this.uri, 'null:']);
      for (const [step, argv] of Object.entries(clients)) {
        const taken = await medianOf(this.#options.repeat, () => measure({ argv }));
        this.#add(
          step,
          tool,
          taken,
          step.includes('random') ? (JSON.parse(taken.stdout) as Record<string, number>) : {},
        );
      }
    } finally {
      await ended(process_);
      rmSync(this.socket, { force: true });
    }
  }

  /** A point of the image: restored, read in order over NBD, and at random. */
  async point(image: string): Promise<void> {
    const tool = coffer(this.#scratch);
    await measure(tool.init());
    await measure(tool.backupDisk(image));
    const restore = tool.restore(this.#scratch);
    prepareCache('warm', tool.repository);
    this.#add('point: restore', 'coffer', await measure(restore.command), {});
    rmSync(restore.path);
    const [program, ...common] = withoutJson(tool.backupDisk(image));
    const words = common.slice(0, common.indexOf('backup'));
    const serve = [program!, ...words, 'serve', 'bench@latest', '--socket', this.socket];
    const env = tool.backupDisk(image).env ?? {};
    await this.against(
      'coffer',
      serve,
      {
        'point: nbdcopy to null': ['nbdcopy', this.uri, 'null:'],
        'point: nbdcopy to a file': ['nbdcopy', this.uri, join(this.#scratch, 'copy')],
      },
      tool.repository,
      env,
    );
    execFileSync('cmp', [image, join(this.#scratch, 'copy')]);
    rmSync(join(this.#scratch, 'copy'));
    // A server that was just started holds nothing of the point.
    prepareCache('cold', tool.repository);
    const random = [process.execPath, STEP, 'latency', this.uri, String(RANDOM_READS)];
    await this.against('coffer', serve, { 'point: random 4 KiB reads': random }, '/dev/null', env);
  }

  #add(step: string, tool: string, taken: Measure, figures: Record<string, number>): void {
    addRow(this.#report, { bench: 'nbd', step, tool, cache: 'warm', measure: taken, figures });
  }
}

function qemuNbd(socket: string, image: string): string[] {
  return ['qemu-nbd', '-r', '-t', '-f', 'raw', '-e', '8', '-k', socket, image];
}

function nbdkit(socket: string, image: string): string[] {
  return ['nbdkit', '-f', '-r', '-U', socket, 'file', image];
}

function withoutJson({ argv }: Command): string[] {
  return argv.filter((word) => word !== '--json');
}

/** Resolves when the server takes connections. */
async function started(
  argv: string[],
  socket: string,
  env: Record<string, string>,
): Promise<ChildProcess> {
  const [program, ...args] = argv;
  const child = spawn(program!, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, ...env },
  });
  for (let attempt = 0; attempt < 200; attempt++) {
    try {
      execFileSync('nbdinfo', ['--size', `nbd+unix:///?socket=${socket}`], { stdio: 'ignore' });
      return child;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  child.kill('SIGKILL');
  throw new Error(`${argv.join(' ')} does not answer`);
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const end = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await end;
}
