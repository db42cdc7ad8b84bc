/** `coffer remove`, `undelete`, `hold`, `release`: which points stay. */
import { hostname, userInfo } from 'node:os';
import { CofferError } from '@coffer/base';
import type { RecoveryPoint, Repository } from '@coffer/repository';
import { clock } from '../compose.ts';
import { formatTime, printLine, printResult } from '../output.ts';
import { printable } from '../printable.ts';
import { parseDays, parseTime } from '../quantities.ts';
import { interruptSignal } from '../run.ts';
import { namedPoint, withRepository } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

export interface RemoveCommandOptions extends GlobalOptions {
  readonly dryRun?: boolean;
  readonly keepFor?: string;
}

/** All or none: what is not found or held is told before anything is removed. */
export async function runRemove(
  names: readonly string[],
  options: RemoveCommandOptions,
): Promise<void> {
  const dryRun = options.dryRun ?? false;
  const { keepFor } = options;
  const until = keepFor === undefined ? undefined : clock.now() + parseDays(keepFor, '--keep-for');
  await withRepository(options, async (repository) => {
    const points = new Map<string, RecoveryPoint>();
    for (const name of names) {
      const point = await namedPoint(repository, name, until === undefined ? 'id' : 'shown');
      if (point.held) throw new CofferError('point-held', { point: point.id });
      points.set(point.id, point);
    }
    for (const point of dryRun ? [] : points.values()) {
      interruptSignal.throwIfAborted();
      if (until === undefined) await repository.removePoint(point);
      else await repository.softDelete(point, { until, by: whoAmI() });
    }
    const removed = [...points.values()].map(toDocument);
    const kept = until === undefined ? {} : { keptUntil: new Date(until).toISOString() };
    printResult(options, { removed, ...kept, dryRun }, () => {
      for (const point of points.values()) {
        printLine(`${dryRun ? 'Would remove' : 'Removed'} ${describe(point)}`);
      }
      if (!dryRun) printLine(whatComesNext(until));
    });
  });
}

function whatComesNext(until: number | undefined): string {
  if (until === undefined) return 'Their space comes back with the next `coffer gc`.';
  const when = formatTime(until);
  return `\`coffer undelete\` brings them back; \`coffer gc\` removes them for good from ${when} on.`;
}

export async function runUndelete(name: string, options: GlobalOptions): Promise<void> {
  await withRepository(options, async (repository) => {
    const point = await namedPoint(repository, name, 'deleted');
    await repository.undelete(point);
    printResult(options, toDocument(point), () => printLine(`Brought back ${describe(point)}`));
  });
}

export interface HolderOptions extends GlobalOptions {
  /** The holder. */
  readonly as: string;
}

export interface HoldCommandOptions extends HolderOptions {
  readonly reason: string;
  readonly until?: string;
}

export async function runHold(name: string, options: HoldCommandOptions): Promise<void> {
  const { as: holder, reason } = options;
  const until = options.until === undefined ? undefined : parseTime(options.until, '--until');
  if (until !== undefined && until <= clock.now()) {
    throw new CofferError('usage', { option: '--until', reason: 'this time has passed' });
  }
  await withRepository(options, async (repository) => {
    const point = await namedPoint(repository, name, 'id');
    await repository.hold(point, { holder, reason, until, by: whoAmI() });
    const document = {
      ...toDocument(point),
      held: true,
      holders: await holdersOf(repository, point),
    };
    const end = until === undefined ? 'it is released' : formatTime(until);
    printResult(options, document, () =>
      printLine(`Held ${describe(point)}: it cannot be removed until ${end}`),
    );
  });
}

export async function runRelease(name: string, options: HolderOptions): Promise<void> {
  const { as: holder } = options;
  await withRepository(options, async (repository) => {
    const point = await namedPoint(repository, name, 'id');
    await repository.release(point, holder);
    const holders = await holdersOf(repository, point);
    const document = { ...toDocument(point), held: holders.length > 0, holders };
    printResult(options, document, () => {
      printLine(`Released ${describe(point)}`);
      if (holders.length > 0) printLine(`It is still held by ${holders.join(', ')}`);
    });
  });
}

async function holdersOf(repository: Repository, { id }: RecoveryPoint): Promise<string[]> {
  return (await repository.holds(id)).map(({ holder }) => holder);
}

function whoAmI(): string {
  return `${userName()}@${hostname()}`;
}

/** A user need not have a name, as in a container. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.());
  }
}

function toDocument({ id, item, takenAt }: RecoveryPoint): {
  point: string;
  item: string;
  takenAt: string;
} {
  return { point: id, item, takenAt: new Date(takenAt).toISOString() };
}

function describe({ id, item, takenAt }: RecoveryPoint): string {
  return `point ${id} of ${printable(item)}, taken ${formatTime(takenAt)}`;
}
