/**
 * The points whose chunks a collection keeps. One whose record is damaged stops none: who can add
 * objects could otherwise stop all. What roots can be read out of it are kept with what they reach, as
 * far as that is there, since a repair or a copy may bring the record back.
 */
import { type CofferError, findingOf, isCofferError, tellFinding } from '@coffer/base';
import type { ChunkId } from '../chunk/chunk-id.ts';
import { parsePointObjectName, type RecoveryPoint } from '../recovery-point.ts';
import type { Repository } from '../repository.ts';
import { getRecordIfThere } from '../store-calls.ts';

export interface PointsToKeep {
  readonly points: readonly RecoveryPoint[];
  /** Ids of points whose records are damaged. */
  readonly damaged: readonly string[];
  /** Of those. */
  readonly rootsOfDamaged: readonly ChunkId[];
}

/** Damaged records are told. Fails with `repository-version` for one of a newer Coffer. */
export async function pointsToKeep(repository: Repository): Promise<PointsToKeep> {
  const damaged: string[] = [];
  const onDamaged = (error: CofferError, name: string): void => {
    tellDamaged(repository, error, name);
    damaged.push(name);
  };
  const points = await repository.points({ deleted: true, onDamaged });
  const roots = [];
  for (const name of damaged) roots.push(...(await rootsIn(repository, name)));
  const ids = damaged.flatMap((name) => parsePointObjectName(name)?.id ?? []);
  return { points, damaged: ids, rootsOfDamaged: roots };
}

/** Says of a record that it is damaged, and that the work goes on without it. */
export function tellDamaged({ run }: Repository, error: CofferError, name: string): void {
  // What a newer Coffer has written has a meaning that is not known here.
  if (error.code !== 'object-damaged') throw error;
  tellFinding(run, findingOf(error, { kind: 'object', name }));
}

const ROOT = /"root":"([0-9a-f]{64})"/g;

async function rootsIn({ store }: Repository, name: string): Promise<ChunkId[]> {
  try {
    const bytes = await getRecordIfThere(store, name);
    const found = bytes?.toString('latin1').matchAll(ROOT) ?? [];
    return Array.from(found, ([, root]) => Buffer.from(root!, 'hex'));
  } catch (error) {
    // It is far too large for a point.
    if (isCofferError(error, 'object-damaged')) return [];
    throw error;
  }
}
