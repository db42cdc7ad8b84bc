/**
 * Which points a copy takes, and what the target has of them: of all points of the source, or of a few
 * that are given. For these, neither side is listed whole: what is looked at is of their items.
 */
import { type CofferError, findingOf, type RunContext, tellFinding } from '@coffer/base';
import { markedDamaged } from '../damaged-points.ts';
import { originOf, type RecoveryPoint } from '../recovery-point.ts';
import type { Repository } from '../repository.ts';
import { hasReceiptToCopy, receiptsMissing } from './receipts.ts';

export interface CopyPair {
  readonly source: Repository;
  readonly target: Repository;
}

/** Which points are wanted: those of the source that are, or these. */
export type WantedPoints =
  | { readonly isWanted: (point: RecoveryPoint) => boolean }
  | { readonly points: readonly RecoveryPoint[] };

export interface Selection {
  readonly wanted: readonly RecoveryPoint[];
  /** Those that the target lacks, or has damaged. */
  readonly missing: readonly RecoveryPoint[];
  /** Ids of points that are marked as damaged in the target. */
  readonly damaged: ReadonlySet<string>;
  /** Ids of points with a receipt that the target lacks. */
  readonly receipts: ReadonlySet<string>;
  /** Points of the item in the target that are no forger's. */
  readonly trusted: (item: string) => Promise<readonly RecoveryPoint[]>;
}

export async function select(
  run: RunContext,
  options: CopyPair & WantedPoints,
): Promise<Selection> {
  return 'points' in options
    ? await selectThese(run, options, options.points)
    : await selectAmongAll(run, options, options.isWanted);
}

async function selectAmongAll(
  run: RunContext,
  pair: CopyPair,
  isWanted: (point: RecoveryPoint) => boolean,
): Promise<Selection> {
  const { source, target } = pair;
  const readable = await source.points({ onDamaged: tellUnreadable(run, source) });
  const wanted = readable.filter(isWanted);
  // What was deleted there for a while is there.
  const onDamaged = tellUnreadable(run, target);
  const present = await target.points({ onDamaged, deleted: true });
  const damaged = await markedDamaged(target.store);
  const receipts = await receiptsMissing(pair);
  const trusted = trustedAmong(target, present, readable);
  return {
    wanted,
    missing: missingOf(wanted, { pair, present, damaged }),
    damaged,
    receipts,
    trusted: async (item) => trusted.filter((each) => each.item === item),
  };
}

async function selectThese(
  run: RunContext,
  pair: CopyPair,
  wanted: readonly RecoveryPoint[],
): Promise<Selection> {
  const { source, target } = pair;
  const present: RecoveryPoint[] = [];
  for (const item of new Set(wanted.map((point) => point.item))) {
    const onDamaged = tellUnreadable(run, target);
    present.push(...(await target.points({ filter: { item }, onDamaged, deleted: true })));
  }
  const damaged = new Set<string>();
  const receipts = new Set<string>();
  for (const point of wanted) {
    if (await target.isMarkedDamaged(point)) damaged.add(point.id);
    if (await hasReceiptToCopy(pair, point.id)) receipts.add(point.id);
  }
  const trusted = async (item: string): Promise<readonly RecoveryPoint[]> => {
    const ofItem = present.filter((each) => each.item === item);
    if (target.keys) return ofItem;
    const filter = { item };
    return trustedAmong(target, ofItem, await source.points({ filter, onDamaged: () => {} }));
  };
  const missing = missingOf(wanted, { pair, present, damaged });
  return { wanted, missing, damaged, receipts, trusted };
}

function tellUnreadable(run: RunContext, { location }: Repository): (error: CofferError) => void {
  return (error) => tellFinding(run, findingOf(error, { kind: 'repository', name: location }));
}

/** Somebody who can add objects to the target can add a point that is none. */
function trustedAmong(
  target: Repository,
  present: readonly RecoveryPoint[],
  ofSource: readonly RecoveryPoint[],
): readonly RecoveryPoint[] {
  if (target.keys) return present;
  const ids = new Set(ofSource.map(({ id }) => id));
  return present.filter(({ id }) => ids.has(id));
}

interface Present {
  readonly pair: CopyPair;
  /** In the target. */
  readonly present: readonly RecoveryPoint[];
  readonly damaged: ReadonlySet<string>;
}

/** A point that was sealed anew has another id; what it was copied from tells that it is the same. */
function missingOf(
  wanted: readonly RecoveryPoint[],
  { pair, present, damaged }: Present,
): RecoveryPoint[] {
  const sealedAsTheyAre = pair.source.sharesKeysWith(pair.target);
  const nameOf = (point: RecoveryPoint): string => (sealedAsTheyAre ? point.id : originOf(point));
  const names = new Set(present.map(nameOf));
  return wanted.filter((point) => damaged.has(point.id) || !names.has(nameOf(point)));
}
