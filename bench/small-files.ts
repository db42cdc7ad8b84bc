// Claim: a tree of 200,000 small files is backed up, backed up again and restored at least as fast
// as restic and borg do it.
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { foldersEqual } from './lib/equal.ts';
import { freshScratch, smallFiles } from './lib/inputs.ts';
import { diskUse, measure, medianOf, prepareCache } from './lib/measure.ts';
import type { CacheState, Measure } from './lib/measure.ts';
import { openTools } from './lib/options.ts';
import type { Options } from './lib/options.ts';
import { addRow } from './lib/report.ts';
import type { Report } from './lib/report.ts';
import type { Tool } from './lib/tool.ts';

const MiB = 2 ** 20;

interface Context {
  cache: CacheState;
  folder: string;
  scratch: string;
  repeat: number;
  report: Report;
}

export async function smallFilesBench(options: Options, report: Report): Promise<void> {
  const folder = smallFiles().path;
  const scratch = freshScratch('small-files');
  const tools = openTools(options.tools, scratch);
  try {
    for (const cache of options.caches) {
      const context: Context = { cache, folder, scratch, repeat: options.repeat, report };
      for (const tool of tools) await firstBackup(context, tool);
      for (const tool of tools) await unchanged(context, tool);
      for (const tool of tools) await restored(context, tool);
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function firstBackup(context: Context, tool: Tool): Promise<void> {
  const taken = await medianOf(context.repeat, async () => {
    rmSync(tool.repository, { recursive: true, force: true });
    await measure(tool.init());
    prepareCache(context.cache, context.folder);
    return measure(tool.backupFolder(context.folder));
  });
  add(context, 'first', tool, taken, { storedMiB: stored(tool) });
}

async function unchanged(context: Context, tool: Tool): Promise<void> {
  const before = stored(tool);
  const taken = await medianOf(context.repeat, () => {
    prepareCache(context.cache, context.folder);
    return measure(tool.backupFolder(context.folder));
  });
  add(context, 'unchanged', tool, taken, { addedMiB: stored(tool) - before });
}

async function restored(context: Context, tool: Tool): Promise<void> {
  // Nothing is deleted between the tools: ext4 is slow to use inodes again that were freed in the
  // last minute, and the next tool would pay for it.
  let target = '';
  let attempt = 0;
  const taken = await medianOf(context.repeat, () => {
    target = join(context.scratch, `restored-${context.cache}-${tool.name}-${++attempt}`);
    mkdirSync(target);
    const { command } = tool.restore(target);
    prepareCache(context.cache, tool.repository);
    return measure(command);
  });
  add(context, 'restore', tool, taken, {
    equal: foldersEqual(context.folder, tool.restore(target).path) ? 'yes' : 'NO',
  });
}

function stored(tool: Tool): number {
  return diskUse(tool.repository).allocatedBytes / MiB;
}

function add(
  context: Context,
  step: string,
  tool: Tool,
  taken: Measure,
  figures: Record<string, number | string>,
): void {
  const bench = `small files (${context.cache})`;
  addRow(context.report, {
    bench,
    step,
    tool: tool.name,
    cache: context.cache,
    measure: taken,
    figures,
  });
}
