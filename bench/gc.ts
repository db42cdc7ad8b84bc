// Claim: collecting garbage of a repository of a million chunks, half of them dead, is planned
// within 30 s and is faster than `restic prune` on the same data.
//
// Each file is small enough to be one chunk. The first point holds all files, the second half of
// them; then the first point is removed. Two layouts: in `mixed` every second file is dropped, so
// that dead and living chunks lie side by side in every pack; in `halves` whole folders are
// dropped, so that most packs are wholly dead or wholly living.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freshScratch } from './lib/inputs.ts';
import { diskUse, measure } from './lib/measure.ts';
import type { Command } from './lib/measure.ts';
import { openTools } from './lib/options.ts';
import type { Options } from './lib/options.ts';
import { seededRandom } from './lib/random.ts';
import { addRow } from './lib/report.ts';
import type { Report } from './lib/report.ts';
import type { Tool } from './lib/tool.ts';

const MiB = 2 ** 20;
const FOLDER_COUNT = 1000;
const FILES_PER_FOLDER = 1000;
const FILE_SIZE_MIN = 200;
const FILE_SIZE_MAX = 1000;

type Layout = 'mixed' | 'halves';

export async function gc(options: Options, report: Report): Promise<void> {
  for (const layout of ['mixed', 'halves'] as const) {
    const scratch = freshScratch('gc');
    try {
      await collect(layout, scratch, options, report);
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  }
}

async function collect(
  layout: Layout,
  scratch: string,
  options: Options,
  report: Report,
): Promise<void> {
  const folder = join(scratch, 'files');
  const tools = openTools(options.tools, scratch);
  const run = async (step: string, tool: Tool, command: Command) => {
    const taken = await measure(command);
    const figures = {
      storedMiB: diskUse(tool.repository).allocatedBytes / MiB,
      ...chunkCount(taken.stdout),
    };
    addRow(report, {
      bench: `gc (${layout})`,
      step,
      tool: tool.name,
      cache: 'warm',
      measure: taken,
      figures,
    });
  };
  writeFiles(folder);
  for (const tool of tools) await measure(tool.init());
  for (const tool of tools) await run('backup all', tool, tool.backupFolder(folder));
  dropHalf(folder, layout);
  for (const tool of tools) await run('backup half', tool, tool.backupFolder(folder));
  for (const tool of tools) await run('remove', tool, tool.removeOldest());
  for (const tool of tools) {
    const plan = tool.planGarbageCollection();
    if (plan !== undefined) await run('gc plan', tool, plan);
  }
  for (const tool of tools) await run('gc', tool, tool.collectGarbage());
}

function writeFiles(folder: string): void {
  const random = seededRandom(6);
  for (let folderIndex = 0; folderIndex < FOLDER_COUNT; folderIndex++) {
    const path = join(folder, String(folderIndex));
    mkdirSync(path, { recursive: true });
    for (let fileIndex = 0; fileIndex < FILES_PER_FOLDER; fileIndex++) {
      const size = FILE_SIZE_MIN + Math.floor(random() * (FILE_SIZE_MAX - FILE_SIZE_MIN));
      writeFileSync(join(path, String(fileIndex)), uniqueText(random, size));
    }
  }
}

function uniqueText(random: () => number, size: number): string {
  let text = '';
  while (text.length < size) text += random().toString(36).slice(2);
  return text.slice(0, size);
}

function dropHalf(folder: string, layout: Layout): void {
  for (let folderIndex = 0; folderIndex < FOLDER_COUNT; folderIndex++) {
    const path = join(folder, String(folderIndex));
    if (layout === 'halves') {
      if (folderIndex >= FOLDER_COUNT / 2) rmSync(path, { recursive: true });
      continue;
    }
    for (let fileIndex = 1; fileIndex < FILES_PER_FOLDER; fileIndex += 2)
      rmSync(join(path, String(fileIndex)));
  }
}

/** How many chunks Coffer says a backup made, to show that the repository has a million. */
function chunkCount(stdout: string): Record<string, number> {
  if (!stdout.startsWith('{')) return {};
  const { chunksNew } = JSON.parse(stdout) as { chunksNew?: number };
  return chunksNew === undefined ? {} : { chunksNew };
}
