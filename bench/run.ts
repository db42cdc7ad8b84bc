// Runs the benchmarks that are named (default: all) and prints what they measured.
import { rmSync } from 'node:fs';
import { boot } from './boot.ts';
import { disk } from './disk.ts';
import { gc } from './gc.ts';
import { images } from './images.ts';
import { indexScale } from './index-scale.ts';
import { freshScratch } from './lib/inputs.ts';
import { link } from './link.ts';
import { nbd } from './nbd.ts';
import { openTools, parseOptions, USAGE } from './lib/options.ts';
import type { Options } from './lib/options.ts';
import { emptyReport, printReport, writeReport } from './lib/report.ts';
import type { Report } from './lib/report.ts';
import { points } from './points.ts';
import { rollback } from './rollback.ts';
import { smallFilesBench } from './small-files.ts';
import { vm } from './vm.ts';

const BENCHES: Record<string, (options: Options, report: Report) => Promise<void>> = {
  disk,
  'small-files': smallFilesBench,
  link,
  gc,
  'index-scale': indexScale,
  images,
  nbd,
  boot,
  points,
  rollback,
  vm,
};
/** Run by name only: they need what the others do not. */
const BY_NAME = ['vm'];

if (process.argv.includes('--help')) {
  console.log(`${USAGE}\nbenchmarks: ${Object.keys(BENCHES).join(', ')}`);
  process.exit(0);
}
const options = parseOptions(process.argv.slice(2));
const usual = Object.keys(BENCHES).filter((name) => !BY_NAME.includes(name));
const names = options.names.length > 0 ? options.names : usual;
const unknown = names.find((name) => !Object.hasOwn(BENCHES, name));
if (unknown !== undefined)
  throw new Error(`no benchmark ${unknown}: ${Object.keys(BENCHES).join(', ')}`);

const scratch = freshScratch('versions');
const tools = openTools(options.tools, scratch);
const versions = Object.fromEntries(tools.map((tool) => [tool.name, tool.version()]));
rmSync(scratch, { recursive: true });
const report = emptyReport();
try {
  for (const name of names) {
    console.error(name);
    await BENCHES[name]!(options, report);
  }
} finally {
  printReport(report, versions);
  if (options.jsonFile !== undefined) writeReport(report, versions, options.jsonFile);
}
