// Claim: a disk is backed up, backed up again and restored faster than restic and borg do it,
// and scattered writes cost little.
//
// Each step runs for all tools before the next step, so that all see the same input and about the
// same machine. The disk is changed once between, and taken back at the end.
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { changeDisk, revertDisk } from './lib/changes.ts';
import { filesEqual } from './lib/equal.ts';
import { diskImage, freshScratch } from './lib/inputs.ts';
import { diskUse, measure, medianOf, prepareCache } from './lib/measure.ts';
import type { CacheState, Command, Measure } from './lib/measure.ts';
import { openTools } from './lib/options.ts';
import type { Options } from './lib/options.ts';
import { addRow } from './lib/report.ts';
import type { Report } from './lib/report.ts';
import type { Tool } from './lib/tool.ts';

const MiB = 2 ** 20;
const CHANGED_SHARE = 0.01;
/** The size of its disk chunks (packages/repository/FORMAT.md). */
const COFFER_CHUNK_SIZE = 256 * 1024;

export async function disk(options: Options, report: Report): Promise<void> {
  const image = diskImage().path;
  revertDisk(image);
  const scratch = freshScratch('disk');
  const tools = openTools(options.tools, scratch);
  try {
    for (const cache of options.caches) {
      const bench = `disk (${cache})`;
      const context: Context = {
        bench,
        cache,
        image,
        input: image,
        scratch,
        repeat: options.repeat,
        report,
      };
      await yardsticks(context);
      for (const tool of tools) await firstBackup(context, tool);
      for (const tool of tools) await unchanged(context, tool);
      for (const tool of tools) await restored(context, tool, 'restore');
      for (const tool of tools) await changed(context, tool);
      for (const tool of tools) await restored(context, tool, 'restore changed');
      revertDisk(image);
    }
  } finally {
    revertDisk(image);
    rmSync(scratch, { recursive: true, force: true });
  }
}

interface Context {
  bench: string;
  cache: CacheState;
  image: string;
  /** What the measured command reads, for the state of the page cache. */
  input: string;
  scratch: string;
  repeat: number;
  report: Report;
}

/** What plain copying and compressing of the same bytes takes on this machine. */
async function yardsticks(context: Context): Promise<void> {
  const { image, scratch } = context;
  const output = join(scratch, 'yardstick');
  const commands: Record<string, Command> = {
    'cp --sparse': { argv: ['cp', '--sparse=always', image, output] },
    'zstd -1 -T2': { argv: ['zstd', '-q', '-1', '-T2', '-f', image, '-o', output] },
  };
  for (const [tool, command] of Object.entries(commands)) {
    const taken = await repeated(context, command, () => rmSync(output, { force: true }));
    const figures = { allocatedMiB: diskUse(output).allocatedBytes / MiB };
    add(context, 'yardstick', tool, taken, figures);
    rmSync(output);
  }
}

async function firstBackup(context: Context, tool: Tool): Promise<void> {
  const taken = await medianOf(context.repeat, async () => {
    rmSync(tool.repository, { recursive: true, force: true });
    await measure(tool.init());
    prepareCache(context.cache, context.image);
    return measure(tool.backupDisk(context.image));
  });
  add(context, 'first', tool.name, taken, { storedMiB: stored(tool), ...ownMetadata(tool, taken) });
}

async function unchanged(context: Context, tool: Tool): Promise<void> {
  const before = stored(tool);
  const taken = await repeated(context, () => tool.backupDisk(context.image));
  add(context, 'unchanged', tool.name, taken, { addedMiB: stored(tool) - before });
}

async function changed(context: Context, tool: Tool): Promise<void> {
  // Only the first run is new to the repository, so this one is never repeated.
  const changes = changeDisk(context.image, CHANGED_SHARE, 1);
  const before = stored(tool);
  prepareCache(context.cache, context.image);
  const taken = await measure(tool.backupDisk(context.image));
  const addedMiB = stored(tool) - before;
  const changedMiB = changes.bytes / MiB;
  add(context, '1% changed', tool.name, taken, {
    changedMiB,
    addedMiB,
    amplification: addedMiB / changedMiB,
    ...ownCount(tool, taken),
    ...ownMetadata(tool, taken),
  });
}

/** What Coffer says of its own run, before compression; the others print nothing as exact. */
function ownCount(tool: Tool, taken: Measure): Record<string, number> {
  if (tool.name !== 'coffer') return {};
  const { chunksNew } = JSON.parse(taken.stdout) as { chunksNew: number };
  return { newChunksMiB: (chunksNew * COFFER_CHUNK_SIZE) / MiB };
}

/** What trees take of what Coffer stored, against the rest of it. */
function ownMetadata(tool: Tool, taken: Measure): Record<string, number> {
  if (tool.name !== 'coffer') return {};
  const { bytesStored, bytesStoredNodes } = JSON.parse(taken.stdout) as Record<string, number>;
  return { metadataPercent: (100 * bytesStoredNodes!) / (bytesStored! - bytesStoredNodes!) };
}

async function restored(context: Context, tool: Tool, step: string): Promise<void> {
  const target = join(context.scratch, 'restored');
  const empty = () => {
    rmSync(target, { recursive: true, force: true });
    mkdirSync(target);
  };
  const { command, path } = tool.restore(target);
  const taken = await repeated({ ...context, input: tool.repository }, command, empty);
  const figures = {
    equal: filesEqual(context.image, path) ? 'yes' : 'NO',
    allocatedMiB: diskUse(path).allocatedBytes / MiB,
  };
  add(context, step, tool.name, taken, figures);
  rmSync(target, { recursive: true });
}

async function repeated(
  context: Context,
  command: Command | (() => Command),
  before: () => void = () => {},
): Promise<Measure> {
  return medianOf(context.repeat, async () => {
    before();
    prepareCache(context.cache, context.input);
    return measure(typeof command === 'function' ? command() : command);
  });
}

function stored(tool: Tool): number {
  return diskUse(tool.repository).allocatedBytes / MiB;
}

function add(
  context: Context,
  step: string,
  tool: string,
  taken: Measure,
  figures: Record<string, number | string>,
): void {
  addRow(context.report, {
    bench: context.bench,
    step,
    tool,
    cache: context.cache,
    measure: taken,
    figures,
  });
}
