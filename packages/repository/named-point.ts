/** The point that somebody has named. */
import { CofferError, isCofferError } from '@coffer/base';
import { filterOf, isFromFuture, resolvePoint } from './point-name.ts';
import type { RecoveryPoint } from './recovery-point.ts';
import type { Repository } from './repository.ts';

/** Which points a name can mean: `id` means also a deleted one, by its id. */
export type Nameable = 'shown' | 'deleted' | 'id';

export interface NamedPoint {
  readonly point: RecoveryPoint;
  /** Of whom asks for the latest one: those that say that they are later than now. */
  readonly fromFuture: readonly RecoveryPoint[];
}

/**
 * Damaged points of others are no reason to fail. Fails with `point-not-found`, `point-ambiguous`,
 * `item-not-found`, or with the damage of what may be the point that was meant.
 */
export async function findNamedPoint(
  repository: Repository,
  name: string,
  nameable: Nameable = 'shown',
): Promise<NamedPoint> {
  const damaged: unknown[] = [];
  const filter = filterOf(name);
  const points = await repository.points({
    filter,
    // `ITEM@latest` is what a listing shows, and never falls on what was deleted.
    deleted: nameable === 'deleted' || (nameable === 'id' && 'idPrefix' in filter),
    onDamaged: (error) => damaged.push(error),
  });
  const now = repository.run.clock.now();
  try {
    const named = points.filter(({ deletion }) => nameable !== 'deleted' || deletion !== undefined);
    if (named.length === 0 && points.length > 0) {
      throw new CofferError('point-not-found', {
        point: name,
        reason: 'none of that name is deleted',
      });
    }
    const point = resolvePoint(named, name, now);
    const ahead = name.endsWith('@latest') ? named.filter((each) => isFromFuture(each, now)) : [];
    return { point, fromFuture: ahead };
  } catch (error) {
    // Perhaps the point that was meant is the damaged one.
    if (damaged.length > 0 && isCofferError(error, 'point-not-found')) throw damaged[0];
    throw error;
  }
}
