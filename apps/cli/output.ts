/** What commands print: one JSON document, or text for people. */
import { shownText } from '@coffer/base/path-text.ts';
import { type Finding, severityOf } from '@coffer/base/findings.ts';
import { EXIT_FINDINGS } from './exit-codes.ts';
import { exitCodeOf } from './failures/failures.ts';
import { describeFinding, findingDocument } from './findings.ts';
import { printable, shownPath } from './printable.ts';
import type { GlobalOptions } from './settings.ts';

/** So many findings are shown to people; `--json` has them all. */
const FINDINGS_SHOWN_MAX = 50;
const LINES_AT_ONCE = 256;

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

export function printLine(line = ''): void {
  process.stdout.write(`${line}\n`);
}

/** Prints the document for scripts, or what `text` prints for people. */
export function printResult(options: GlobalOptions, document: unknown, text: () => void): void {
  if (options.json) printJson(document);
  else if (!options.quiet) text();
}

/** What a command has done, and what it met meanwhile. */
interface Outcome {
  readonly findings: readonly Finding[];
}

/** The same for what has findings: they are in the document, or told on stderr after the text. */
export function printOutcome<O extends Outcome>(
  options: GlobalOptions,
  outcome: O,
  text: () => void,
): void {
  printResult(options, documentOf(outcome), text);
  reportFindings(options, outcome.findings);
}

/** With findings as scripts read them. */
export function documentOf<O extends Outcome>(outcome: O): object {
  return { ...outcome, findings: outcome.findings.map(findingDocument) };
}

/** Tells findings on stderr and makes the exit code say that something is not as it should be. */
export function reportFindings(options: GlobalOptions, findings: readonly Finding[]): void {
  if (findings.some((finding) => severityOf(finding) !== 'note')) process.exitCode = EXIT_FINDINGS;
  if (options.json) return;
  for (const finding of findings.slice(0, FINDINGS_SHOWN_MAX)) {
    const { code, subject } = finding;
    const said = printable(describeFinding(finding));
    process.stderr.write(`${code}: ${shownPath(shownText(subject.name))}: ${said}\n`);
  }
  const hidden = findings.length - FINDINGS_SHOWN_MAX;
  if (hidden > 0) process.stderr.write(`and ${hidden} more; --json lists them all\n`);
}

/** The same; points that cannot be restored whole are more than a remark. */
export function printDamage(
  options: GlobalOptions,
  outcome: Outcome & { readonly pointsDamaged: readonly string[] },
  text: () => void,
): void {
  printOutcome(options, outcome, text);
  if (outcome.pointsDamaged.length > 0) {
    process.exitCode = exitCodeOf('repository-damaged');
  }
}

/** A table for people; numbers are aligned to the right. */
export async function printTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
): Promise<void> {
  const { default: Table } = await import('cli-table3');
  const none = '';
  const table = new Table({
    head: [...head],
    style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': 2 },
    chars: {
      top: none,
      'top-mid': none,
      'top-left': none,
      'top-right': none,
      bottom: none,
      'bottom-mid': none,
      'bottom-left': none,
      'bottom-right': none,
      left: none,
      'left-mid': none,
      mid: none,
      'mid-mid': none,
      right: none,
      'right-mid': none,
      middle: none,
    },
  });
  table.push(...rows.map((row) => [...row]));
  printLine(table.toString().replaceAll(/ +$/gm, ''));
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${UNITS[unit]}`;
}

export function formatDuration(durationMs: number): string {
  if (durationMs < 60_000) return `${(durationMs / 1000).toFixed(1)} s`;
  const minutes = Math.floor(durationMs / 60_000);
  const seconds = Math.round((durationMs % 60_000) / 1000);
  return minutes < 60
    ? `${minutes} min ${seconds} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** What a Date can be, in ms since 1970, and its local time too. */
const DATE_MS_MAX = 8_640_000_000_000_000 - 86_400_000;

/** Local time to the second; for what no calendar shows, the seconds since 1970. */
export function formatTime(timeMs: number): string {
  if (Math.abs(timeMs) > DATE_MS_MAX) return `@${Math.floor(timeMs / 1000)}`;
  const date = new Date(timeMs - new Date(timeMs).getTimezoneOffset() * 60_000);
  // Years of more than four digits have a sign and six.
  return date.toISOString().slice(0, -5).replace('T', ' ');
}

/** UTC to the nanosecond, as scripts read it. */
export function isoTimeOfNs(timeNs: bigint): string {
  const billion = 1_000_000_000n;
  const fraction = ((timeNs % billion) + billion) % billion;
  const seconds = (timeNs - fraction) / billion;
  const limit = 8_640_000_000_000n;
  // Beyond what a Date can be, the number itself is all there is to say.
  if (seconds > limit || seconds < -limit) return `${seconds}.${String(fraction).padStart(9, '0')}`;
  const text = new Date(Number(seconds) * 1000).toISOString();
  return text.replace('.000Z', `.${String(fraction).padStart(9, '0')}Z`);
}

/** Lines that are written many at a time. */
export class LinePrinter {
  #lines: string[] = [];

  add(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length >= LINES_AT_ONCE) this.flush();
  }

  flush(): void {
    if (this.#lines.length > 0) process.stdout.write(`${this.#lines.join('\n')}\n`);
    this.#lines = [];
  }
}
