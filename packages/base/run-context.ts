/**
 * What a run is given from outside: time, randomness, a way to be ended, and somebody who is told what
 * happens. It is the first parameter of what waits; a bar on a terminal, a journal of jobs and a test
 * listen alike.
 */
import type { Clock } from './clock.ts';
import type { Finding } from './findings.ts';
import type { Random } from './random.ts';

/** What a run is busy with, in the words of the field. */
export const PHASES = [
  'hold-guests',
  'read-files',
  'read-disks',
  'commit',
  'list-points',
  'check-records',
  'rebuild-index',
  'walk-trees',
  'read-packs',
  'write-packs',
  'mark',
  'repack',
  'wait-for-sessions',
  'sweep',
  'copy-chunks',
  'restore-files',
  'restore-disks',
  'compare',
  'stop-guest',
  'define-machine',
  'restore-memory',
  'start-guest',
  'boot-guest',
  'move-disks',
  'put-back',
] as const;

export type Phase = (typeof PHASES)[number];

/** What has happened that is not undone by ending the run. */
export type Milestone =
  /** A point exists. */
  | 'point-made'
  /** A record says how the change that begins now is undone: until it is done, it cannot be stopped. */
  | 'record-written'
  /** A machine is known to its host. */
  | 'machine-defined';

export type RunEvent =
  /** What comes now; its amount and what is done of it begin at nothing. */
  | { readonly kind: 'phase'; readonly phase: Phase; readonly subject?: string | undefined }
  /** Adds to the amount of the phase, once a part of it is known. */
  | { readonly kind: 'total'; readonly bytes: number; readonly items: number }
  /** Adds to what is done of the phase: read, written, or known to be as it should. */
  | { readonly kind: 'done'; readonly bytes: number; readonly items: number }
  | { readonly kind: 'finding'; readonly finding: Finding }
  | { readonly kind: 'milestone'; readonly at: Milestone; readonly id: string };

export interface RunContext {
  readonly clock: Clock;
  readonly random: Random;
  /** Ends the run: whatever waits gives up with its reason, and leaves nothing broken. */
  readonly signal: AbortSignal;
  /** Takes what happens; it never fails, and nothing waits for it. */
  readonly tell: (event: RunEvent) => void;
  /** For what lasts no longer than the run. */
  readonly temporaryFolder: string;
}

/** The same run, which another signal ends, too. */
export function endedBy<R extends RunContext>(run: R, ...signals: readonly AbortSignal[]): R {
  return { ...run, signal: AbortSignal.any([run.signal, ...signals]) };
}

/** The same run, with what it finds also in a list. */
export function collecting<R extends RunContext>(
  run: R,
): { readonly run: R; readonly findings: Finding[] } {
  const findings: Finding[] = [];
  const tell = (event: RunEvent): void => {
    if (event.kind === 'finding') findings.push(event.finding);
    run.tell(event);
  };
  return { run: { ...run, tell }, findings };
}

/** The same run, as a part of a phase of somebody else, who knows the total: it counts what is done. */
export function withinPhase<R extends RunContext>(run: R): R {
  const tell = (event: RunEvent): void => {
    if (event.kind !== 'phase' && event.kind !== 'total') run.tell(event);
  };
  return { ...run, tell };
}

type Listened = Pick<RunContext, 'tell'>;

export function tellPhase({ tell }: Listened, phase: Phase, subject?: string): void {
  tell({ kind: 'phase', phase, subject });
}

export function tellTotal(
  { tell }: Listened,
  { bytes = 0, items = 0 }: { readonly bytes?: number; readonly items?: number },
): void {
  tell({ kind: 'total', bytes, items });
}

export function tellDone(
  { tell }: Listened,
  { bytes = 0, items = 0 }: { readonly bytes?: number; readonly items?: number },
): void {
  tell({ kind: 'done', bytes, items });
}

export function tellFinding({ tell }: Listened, finding: Finding): void {
  tell({ kind: 'finding', finding });
}

/** The same run, where ending it would leave something broken: it goes on to the end. */
export function unstoppable<R extends RunContext>(run: R): R {
  return { ...run, signal: new AbortController().signal };
}

/** For giving back what a run holds after it was ended: nobody waits longer for it. */
const PARTING_MS = 1500;

/** The same run for its last acts: there is a moment for them, also when it was ended. */
export function parting<R extends RunContext>(run: R): R {
  return run.signal.aborted ? { ...run, signal: AbortSignal.timeout(PARTING_MS) } : run;
}
