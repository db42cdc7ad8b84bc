/** How people name a recovery point: `ITEM@latest`, `ITEM@2026-11-20T10:00`, an id or its beginning. */
import { CofferError } from '@coffer/base';
import type { PointFilter } from './points.ts';
import type { RecoveryPoint } from './recovery-point.ts';

const PREFIX_LENGTH_MIN = 4;
/** Clocks of hosts differ by minutes; what is further ahead was made by one that was wrong. */
const CLOCK_DIFFERENCE_MS_MAX = 10 * 60_000;

/** True for a point that was taken later than now, by the clock of who made it. */
export function isFromFuture({ takenAt }: Pick<RecoveryPoint, 'takenAt'>, nowMs: number): boolean {
  return takenAt > nowMs + CLOCK_DIFFERENCE_MS_MAX;
}

/**
 * The point that `name` means. A time (local, unless it says otherwise) means the newest point of
 * the item taken until then; `latest` means the newest that is not from the future, if there is one.
 * Fails with `point-not-found`, `item-not-found` or `point-ambiguous`.
 */
export function resolvePoint(
  points: readonly RecoveryPoint[],
  name: string,
  nowMs: number,
): RecoveryPoint {
  const at = name.lastIndexOf('@');
  if (at > 0) return resolveByTime(points, name.slice(0, at), { time: name.slice(at + 1), nowMs });
  if (!/^[0-9a-f]+$/.test(name) || name.length < PREFIX_LENGTH_MIN) {
    throw new CofferError('point-not-found', {
      point: name,
      expected: `an id, ${PREFIX_LENGTH_MIN} or more of its first characters, or ITEM@latest`,
    });
  }
  const found = points.filter(({ id }) => id.startsWith(name));
  if (found.length > 1) throw new CofferError('point-ambiguous', { point: name });
  if (!found[0]) throw new CofferError('point-not-found', { point: name });
  return found[0];
}

/** Which points have to be read to find the one that `name` means. */
export function filterOf(name: string): PointFilter {
  const at = name.lastIndexOf('@');
  return at > 0 ? { item: name.slice(0, at) } : { idPrefix: name };
}

/** The newest point of an item; one from the future only when there is no other. */
export function latestPoint(
  points: readonly RecoveryPoint[],
  item: string,
  nowMs: number,
): RecoveryPoint | undefined {
  const ofItem = points.filter((point) => point.item === item);
  const past = ofItem.filter((point) => !isFromFuture(point, nowMs));
  return newestOf(past.length > 0 ? past : ofItem);
}

function newestOf(points: readonly RecoveryPoint[]): RecoveryPoint | undefined {
  return points.reduce<RecoveryPoint | undefined>(
    (a, b) => (a && a.takenAt >= b.takenAt ? a : b),
    undefined,
  );
}

function resolveByTime(
  points: readonly RecoveryPoint[],
  item: string,
  { time, nowMs }: { readonly time: string; readonly nowMs: number },
): RecoveryPoint {
  const ofItem = points.filter((point) => point.item === item);
  if (ofItem.length === 0) throw new CofferError('item-not-found', { item });
  const latest = latestPoint(ofItem, item, nowMs);
  if (time === 'latest' && latest) return latest;
  const until = endOfTime(time);
  if (Number.isNaN(until)) {
    throw new CofferError('usage', { time, expected: 'latest, or a time like 2026-11-20T10:00' });
  }
  const found = newestOf(ofItem.filter(({ takenAt }) => takenAt <= until));
  if (!found) throw new CofferError('point-not-found', { item, until: time });
  return found;
}

/** The last millisecond of the day, minute or second that was named. */
function endOfTime(time: string): number {
  const match = /^\d{4}-\d\d-\d\d(?:(T\d\d:\d\d)(:\d\d(\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d)?)?$/.exec(
    time,
  );
  if (!match) return Number.NaN;
  const [, minute, second, fraction] = match;
  // A date alone would be read as UTC.
  if (minute === undefined) return Date.parse(`${time}T23:59:59.999`);
  if (fraction !== undefined) return Date.parse(time);
  return Date.parse(time) + (second === undefined ? 59_999 : 999);
}
