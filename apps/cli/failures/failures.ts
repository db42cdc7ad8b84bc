/** What the command line makes of errors: the exit code of each, and what its user can do. */
import type { ErrorCode } from '@coffer/base';
import { type Failure, type FailureRow, row } from './failure-row.ts';
import { REPOSITORY_FAILURES } from './of-repositories.ts';
import { SOURCE_FAILURES } from './of-sources.ts';
import { TARGET_FAILURES } from './of-targets.ts';

const FAILURES: Readonly<Record<ErrorCode, FailureRow>> = {
  internal: row(1, 'Please report this.'),
  usage: row(2, 'See `coffer help`.'),
  interrupted: row(
    130,
    'Run the command again: what was left in a repository is removed by the next `coffer gc`, and a restore into a folder goes on with `--on-conflict skip`, or with `--delta`.',
  ),
  'resources-exhausted': row(1, 'Raise the limit of open files, perhaps: `ulimit -n 4096`.'),
  'tool-missing': row(24, 'Install the package that is named.'),
  'tool-failed': row(1, 'What it said stands above.'),

  ...REPOSITORY_FAILURES,
  ...SOURCE_FAILURES,
  ...TARGET_FAILURES,
};

export function exitCodeOf(code: ErrorCode): number {
  return FAILURES[code].exitCode;
}

export function remedyOf(error: Failure): string {
  const { remedy } = FAILURES[error.code];
  return typeof remedy === 'string' ? remedy : remedy(error);
}
