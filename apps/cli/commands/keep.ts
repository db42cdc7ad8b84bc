/** `coffer remove`, `coffer hold`, `coffer release`: which points stay. */
import { CofferError } from '@coffer/base';
import type { RecoveryPoint } from '@coffer/repository';
import { formatTime, printLine, printResult } from '../output.ts';
import { printable } from '../printable.ts';
import { interruptSignal } from '../run.ts';
import { namedPoint, withRepository } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

export interface RemoveCommandOptions extends GlobalOptions {
  readonly dryRun?: boolean;
}

/** All or none: what is not found or held is told before anything is removed. */
export async function runRemove(
  names: readonly string[],
  options: RemoveCommandOptions,
): Promise<void> {
  const dryRun = options.dryRun ?? false;
  await withRepository(options, async (repository) => {
    const points = new Map<string, RecoveryPoint>();
    for (const name of names) {
      const point = await namedPoint(repository, name);
      if (point.held) throw new CofferError('point-held', { point: point.id });
      points.set(point.id, point);
    }
    for (const point of dryRun ? [] : points.values()) {
      interruptSignal.throwIfAborted();
      await repository.removePoint(point);
    }
    const removed = [...points.values()].map(toDocument);
    printResult(options, { removed, dryRun }, () => {
      for (const point of points.values()) {
        printLine(`${dryRun ? 'Would remove' : 'Removed'} ${describe(point)}`);
      }
      if (!dryRun) printLine('Their space comes back with the next `coffer gc`.');
    });
  });
}

export async function runHold(name: string, options: GlobalOptions): Promise<void> {
  await withRepository(options, async (repository) => {
    const point = await namedPoint(repository, name);
    await repository.hold(point);
    printResult(options, { ...toDocument(point), held: true }, () =>
      printLine(`Held ${describe(point)}: it cannot be removed until it is released`),
    );
  });
}

export async function runRelease(name: string, options: GlobalOptions): Promise<void> {
  await withRepository(options, async (repository) => {
    const point = await namedPoint(repository, name);
    await repository.release(point);
    printResult(options, { ...toDocument(point), held: false }, () =>
      printLine(`Released ${describe(point)}`),
    );
  });
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
