/** `coffer doctor`: looks for what keeps backups from working, and says what to do. */
import type { Check } from '../doctor/check.ts';
import { checkMachine } from '../doctor/this-machine.ts';
import { EXIT_FAILED, EXIT_FINDINGS } from '../exit-codes.ts';
import { printJson, printLine } from '../output.ts';
import { printable } from '../printable.ts';
import type { GlobalOptions } from '../settings.ts';

const MARKS = { ok: 'ok     ', warning: 'WARNING', failure: 'FAILURE' } as const;

export async function runDoctor(options: GlobalOptions): Promise<void> {
  const { checks: ofMachine, isNativeCodeWell } = await checkMachine();
  const ofRepository = isNativeCodeWell ? await checkRepository(options) : [];
  const checks = [...ofMachine, ...ofRepository];
  const status = worstOf(checks);
  if (options.json) printJson({ status, checks });
  else for (const check of checks) printCheck(check, options);
  if (status === 'failure') process.exitCode = EXIT_FAILED;
  if (status === 'warning') process.exitCode = EXIT_FINDINGS;
}

/** Loaded late: without native code it would not load, and nobody would be told why. */
async function checkRepository(options: GlobalOptions): Promise<Check[]> {
  const doctor = await import('../doctor/repository.ts');
  return await doctor.checkRepository(options);
}

function worstOf(checks: readonly Check[]): Check['status'] {
  const order = ['failure', 'warning'] as const;
  return order.find((each) => checks.some(({ status }) => status === each)) ?? 'ok';
}

function printCheck({ check, status, message, help }: Check, options: GlobalOptions): void {
  if (status === 'ok' && options.quiet) return;
  printLine(`${MARKS[status]}  ${check}: ${printable(message)}`);
  if (help !== undefined) printLine(`         ${help}`);
}
