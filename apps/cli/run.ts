/** Runs the command line and turns every outcome into an exit code. */
import { CofferError, ERRORS, isCofferError } from '@coffer/base/errors.ts';
import { type Command, CommanderError } from 'commander';

export const EXIT_DONE = 0;
export const EXIT_FINDINGS = 3;

/** Aborted by the first SIGINT or SIGTERM; the second one ends the process at once. */
const interruption = new AbortController();
export const interruptSignal = interruption.signal;

export async function runProgram(program: Command, argv: readonly string[]): Promise<number> {
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, interrupt);
  // A reader that has seen enough (`coffer ls | head`) is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT_DONE);
  });
  try {
    await program.parseAsync(argv);
    return typeof process.exitCode === 'number' ? process.exitCode : EXIT_DONE;
  } catch (error) {
    return report(interruptSignal.aborted ? new CofferError('interrupted') : error, argv);
  }
}

function interrupt(): void {
  if (interruption.signal.aborted) process.exit(ERRORS.interrupted.exitCode);
  process.stderr.write('\nStopping; press Ctrl-C again to stop at once.\n');
  interruption.abort(new CofferError('interrupted'));
}

function report(error: unknown, argv: readonly string[]): number {
  if (error instanceof CommanderError) {
    // Commander has printed what is wrong, or the help that was asked for.
    return error.exitCode === 0 ? EXIT_DONE : ERRORS.usage.exitCode;
  }
  const failure = isCofferError(error) ? error : unexpected(error);
  const { help, exitCode } = failure.row;
  if (argv.includes('--json')) {
    const { code, message, details } = failure;
    process.stdout.write(`${JSON.stringify({ error: { code, message, details, help } })}\n`);
  }
  process.stderr.write(`coffer: ${failure.message}\n        ${help}\n`);
  if (process.env['COFFER_DEBUG']) console.error(error);
  return exitCode;
}

/** What nobody foresaw. Its message is shown, its stack only with COFFER_DEBUG. */
function unexpected(error: unknown): CofferError {
  const reason = error instanceof Error ? error.message : String(error);
  return new CofferError('internal', { reason }, error);
}
