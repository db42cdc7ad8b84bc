// The options that every benchmark shares.
import { parseArgs } from 'node:util';
import { borg } from './borg.ts';
import { coffer } from './coffer.ts';
import { canDropCaches } from './measure.ts';
import type { CacheState } from './measure.ts';
import { restic } from './restic.ts';
import type { Tool } from './tool.ts';

const TOOLS = { coffer, restic, borg } as const;
export type ToolName = keyof typeof TOOLS;

export interface Options {
  tools: ToolName[];
  repeat: number;
  caches: CacheState[];
  jsonFile: string | undefined;
  /** Benchmarks to run; empty means all. */
  names: string[];
}

export const USAGE = `usage: npm run bench -- [NAME]... [options]
  --tools coffer,restic,borg   which programs to measure (default: all)
  --repeat N                   take the median of N runs (default: 1)
  --cache warm|cold|both       state of the page cache (default: warm; cold needs root)
  --json FILE                  also write the results to FILE`;

export function parseOptions(args: string[]): Options {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      tools: { type: 'string', default: Object.keys(TOOLS).join(',') },
      repeat: { type: 'string', default: '1' },
      cache: { type: 'string', default: 'warm' },
      json: { type: 'string' },
    },
  });
  const repeat = Number(values.repeat);
  if (!Number.isInteger(repeat) || repeat < 1)
    throw new Error(`--repeat ${values.repeat}\n${USAGE}`);
  return {
    tools: values.tools.split(',').map(toolName),
    repeat,
    caches: cacheStates(values.cache),
    jsonFile: values.json,
    names: positionals,
  };
}

export function openTools(names: ToolName[], scratch: string): Tool[] {
  return names.map((name) => TOOLS[name](scratch));
}

function toolName(name: string): ToolName {
  if (!Object.hasOwn(TOOLS, name)) throw new Error(`no tool ${name}\n${USAGE}`);
  return name as ToolName;
}

function cacheStates(value: string): CacheState[] {
  if (!['warm', 'cold', 'both'].includes(value)) throw new Error(`--cache ${value}\n${USAGE}`);
  if (value !== 'warm' && !canDropCaches()) throw new Error('only root can drop the page cache');
  return value === 'both' ? ['warm', 'cold'] : [value as CacheState];
}
