/**
 * Purge: points that were deleted for a while are removed for good once that is over. A collection of
 * garbage does not do it by itself, since whoever removes by a clock has to trust it.
 */
import type { RecoveryPoint } from './recovery-point.ts';
import type { Repository } from './repository.ts';

/** The points that may be purged now, by the repository's clock; held ones may not. */
export async function purgeablePoints(repository: Repository): Promise<RecoveryPoint[]> {
  const now = repository.run.clock.now();
  // A damaged point is the business of verification.
  const points = await repository.points({ deleted: true, onDamaged: () => {} });
  return points.filter(({ deletion, held }) => deletion && deletion.until <= now && !held);
}
