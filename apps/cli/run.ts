/** Runs the command line and turns every outcome into an exit code. */
import {
  CofferError,
  type ErrorCode,
  firstFailure,
  isCofferError,
  isOutOfResources,
  isOutOfSpace,
  reasonOf,
  systemErrorCode,
} from '@coffer/base/errors.ts';
import type { RunEvent } from '@coffer/base/run-context.ts';
import { type Command, CommanderError } from 'commander';
import { EXIT_DONE } from './exit-codes.ts';
import { exitCodeOf, remedyOf } from './failures/failures.ts';
import { describePhase } from './phases.ts';
import { printable } from './printable.ts';

/** Aborted by the first SIGINT or SIGTERM; the second one ends the process at once. */
const interruption = new AbortController();
export const interruptSignal = interruption.signal;

export async function runProgram(program: Command, argv: readonly string[]): Promise<number> {
  const wantsJson = hasFlag(argv, '--json');
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, interrupt);
  guardOutput(wantsJson);
  try {
    await program.parseAsync(normalizeArguments(argv));
    return typeof process.exitCode === 'number' ? process.exitCode : EXIT_DONE;
  } catch (error) {
    return report(interruptSignal.aborted ? new CofferError('interrupted') : error, wantsJson);
  }
}

/**
 * `--read-data` may have a value, and only behind an equals sign: the word after it is a point.
 */
export function normalizeArguments(argv: readonly string[]): string[] {
  const end = argv.indexOf('--');
  return argv.map((word, index) =>
    word === '--read-data' && (end < 0 || index < end) ? '--read-data=100' : word,
  );
}

function hasFlag(argv: readonly string[], flag: string): boolean {
  const end = argv.indexOf('--');
  const index = argv.indexOf(flag);
  return index >= 0 && (end < 0 || index < end);
}

/** What nobody could catch still ends with a message and an exit code, and no stack trace. */
function guardOutput(wantsJson: boolean): void {
  process.stdout.on('error', (error: Error) => {
    // A reader that has seen enough (`coffer ls | head`) is no failure.
    if (systemErrorCode(error) === 'EPIPE') process.exit(EXIT_DONE);
    const code = isOutOfSpace(error) ? 'target-full' : 'target-unwritable';
    const failure = new CofferError(code, { target: 'stdout', reason: error.message }, error);
    process.exit(report(failure, false));
  });
  // Nobody reads what goes wrong; that is their choice.
  process.stderr.on('error', () => {});
  process.on('uncaughtException', (error) => process.exit(report(error, wantsJson)));
}

/** After so long, who waits for the end is told why it takes longer. */
const PATIENCE_MS = 2000;

function interrupt(): void {
  if (interruption.signal.aborted) process.exit(exitCodeOf('interrupted'));
  process.stderr.write('\nStopping; press Ctrl-C again to stop at once.\n');
  interruption.abort(new CofferError('interrupted'));
  setTimeout(() => {
    process.stderr.write(`coffer: ${whyItTakesLonger()}\n`);
  }, PATIENCE_MS).unref();
}

let busyWith: Extract<RunEvent, { kind: 'phase' }> | undefined;
let hasChangedMachine = false;

/** Listens to the run of the command. */
export function noteWhatIsBusy(event: RunEvent): void {
  if (event.kind === 'phase') busyWith = event;
  if (event.kind === 'milestone' && event.at === 'record-written') hasChangedMachine = true;
}

function whyItTakesLonger(): string {
  const what = busyWith ? `still ${describePhase(busyWith.phase, busyWith.subject)}` : 'still busy';
  if (!hasChangedMachine) return what;
  return `${what}: the machine has been changed, and gets its old state back first, which cannot be stopped`;
}

/** Ends with the first SIGINT or SIGTERM, for commands whose end that is. */
export async function interrupted(): Promise<void> {
  await new Promise<void>((done) => {
    if (interruptSignal.aborted) done();
    else interruptSignal.addEventListener('abort', () => done(), { once: true });
  });
}

function report(error: unknown, wantsJson: boolean): number {
  if (error instanceof CommanderError && error.exitCode === 0) return EXIT_DONE;
  const failure = toFailure(error);
  const help = remedyOf(failure);
  if (wantsJson) {
    const { code, message, details } = failure;
    process.stdout.write(`${JSON.stringify({ error: { code, message, details, help } })}\n`);
  }
  // Commander has told already what is wrong.
  if (!(error instanceof CommanderError)) {
    process.stderr.write(`coffer: ${printable(failure.message)}\n        ${help}\n`);
    tellLater(error);
  }
  if (process.env['COFFER_DEBUG']) console.error(error);
  return exitCodeOf(failure.code);
}

/** What went wrong when something was given back, or undone, after the failure that was told. */
function tellLater(error: unknown): void {
  if (!(error instanceof SuppressedError)) return;
  tellLater(error.suppressed);
  const failure = toFailure(error.error);
  const help = remedyOf(failure);
  process.stderr.write(`coffer: after that: ${printable(failure.message)}\n        ${help}\n`);
}

function toFailure(thrown: unknown): CofferError {
  const error = firstFailure(thrown);
  if (isCofferError(error)) return error;
  const reason = reasonOf(error);
  if (error instanceof CommanderError) {
    const isHelp = error.code === 'commander.help';
    return new CofferError('usage', { reason: isHelp ? 'no command is named' : reason }, error);
  }
  const code = foreseen(error);
  // What nobody foresaw. Its message is shown, its stack only with COFFER_DEBUG.
  return new CofferError(code ?? 'internal', { reason }, error);
}

/** Failed system calls that did not pass through a store, a source or a target. */
function foreseen(error: unknown): ErrorCode | undefined {
  if (isOutOfSpace(error)) return 'target-full';
  if (isOutOfResources(error)) return 'resources-exhausted';
  const code = systemErrorCode(error);
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') return 'target-unwritable';
  return undefined;
}
