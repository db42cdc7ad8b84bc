// The results: one row per measured command, printed as a table and written as JSON.
import { cpus, loadavg, release, totalmem, type } from 'node:os';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { claimLines } from './claims.ts';
import { benchFolder } from './folders.ts';
import type { Measure } from './measure.ts';

const MiB = 2 ** 20;

/** Times are compared with this tool's. */
const REFERENCE = 'coffer';

export interface Row {
  bench: string;
  step: string;
  tool: string;
  cache: string;
  measure: Measure;
  /** Figures of this step beyond the measure, with their unit last in the name. */
  figures: Record<string, number | string>;
}

export interface Report {
  rows: Row[];
  notes: string[];
}

export function emptyReport(): Report {
  return { rows: [], notes: [] };
}

/** Adds a row and tells at once, since a whole run takes long. */
export function addRow(report: Report, row: Row): void {
  report.rows.push(row);
  console.error(
    `  ${row.step} ${row.tool} ${row.cache}: ${cells(row, report.rows).slice(3).join(' ')}`,
  );
}

export function printReport(report: Report, versions: Record<string, string>): void {
  for (const line of machineLines(versions)) console.log(line);
  for (const bench of new Set(report.rows.map((row) => row.bench))) {
    const rows = report.rows.filter((row) => row.bench === bench);
    console.log(`\n${bench}`);
    printTable([HEADER, ...rows.map((row) => cells(row, rows))]);
  }
  console.log('');
  for (const line of [...claimLines(report.rows), ...report.notes]) console.log(line);
}

export function writeReport(report: Report, versions: Record<string, string>, path: string): void {
  const rows = report.rows.map(({ measure: { stdout: _, ...measure }, ...row }) => ({
    ...row,
    measure,
  }));
  const document = { machine: machine(), versions, rows, notes: report.notes };
  writeFileSync(path, `${JSON.stringify(document, null, 2)}\n`);
}

const HEADER = [
  'step',
  'tool',
  'cache',
  'wall s',
  'x',
  'cpu s',
  'sync s',
  'rss MiB',
  'anon',
  'file',
  'load',
  '',
];

function cells(row: Row, rows: Row[]): string[] {
  const { measure } = row;
  const reference = rows.find(
    (other) => other.tool === REFERENCE && other.bench === row.bench && other.step === row.step,
  );
  const ratio = reference ? (measure.wallSeconds / reference.measure.wallSeconds).toFixed(2) : '-';
  return [
    row.step,
    row.tool,
    row.cache,
    measure.wallSeconds.toFixed(2),
    ratio,
    measure.cpuSeconds.toFixed(1),
    measure.syncSeconds.toFixed(1),
    measure.rssMaxMiB.toFixed(0),
    measure.rssAnonMaxMiB.toFixed(0),
    measure.rssFileMaxMiB.toFixed(0),
    measure.loadBefore.toFixed(1),
    Object.entries(row.figures)
      .map(([name, value]) => `${name}=${shown(value)}`)
      .join(' '),
  ];
}

function shown(value: number | string): string {
  if (typeof value === 'string') return value;
  return Number.isInteger(value) ? String(value) : value.toFixed(2);
}

function printTable(lines: string[][]): void {
  const widths = lines[0]!.map((_, column) =>
    Math.max(...lines.map((line) => line[column]!.length)),
  );
  for (const line of lines) {
    // Names to the left, figures to the right.
    const padded = line.map((cell, column) =>
      column < 3 || column === line.length - 1
        ? cell.padEnd(widths[column]!)
        : cell.padStart(widths[column]!),
    );
    console.log(padded.join('  ').trimEnd());
  }
}

function machine(): Record<string, string | number> {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryMiB: Math.round(totalmem() / MiB),
    kernel: `${type()} ${release()}`,
    disk: execFileSync('df', ['-T', benchFolder()], { encoding: 'utf8' }).split('\n')[1] ?? '',
    node: process.version,
    load: loadavg()
      .map((load) => load.toFixed(2))
      .join(' '),
  };
}

function machineLines(versions: Record<string, string>): string[] {
  const facts = { ...machine(), ...versions };
  return Object.entries(facts).map(([name, value]) => `${name.padEnd(10)} ${value}`);
}
