/** Mapping pairs: where the clusters of a stream are, as signed steps from run to run. */
import type { Fields } from './fields.ts';

/** Clusters of a stream that follow each other on the volume. */
export interface Run {
  /** First cluster of the stream. */
  readonly start: number;
  readonly count: number;
  /** First cluster on the volume; undefined for a hole. */
  readonly place: number | undefined;
}

/**
 * The runs from cluster `start` of the stream on. Places are inside of a volume of `clusterCount`
 * clusters, and runs have at least one cluster.
 */
export function parseRuns(pairs: Fields, start: number, clusterCount: number): Run[] {
  const runs: Run[] = [];
  let place = 0;
  let next = start;
  for (let at = 0; pairs.u8(at) !== 0;) {
    const countSize = pairs.u8(at) & 0xf;
    const stepSize = pairs.u8(at) >> 4;
    const count = signed(pairs, at + 1, countSize);
    if (count <= 0 || !Number.isSafeInteger(next + count)) throw pairs.damaged('a run is empty');
    if (stepSize > 0) {
      place += signed(pairs, at + 1 + countSize, stepSize);
      if (place < 0 || place + count > clusterCount) {
        throw pairs.damaged(`${count} clusters at ${place} are outside of the volume`);
      }
    }
    runs.push({ start: next, count, place: stepSize > 0 ? place : undefined });
    next += count;
    at += 1 + countSize + stepSize;
  }
  return runs;
}

function signed(pairs: Fields, at: number, size: number): number {
  if (size === 0) return 0;
  const { bytes } = pairs.part(at, size);
  if (size <= 6) return bytes.readIntLE(0, size);
  const high = bytes.readIntLE(6, size - 6);
  const value = high * 2 ** 48 + bytes.readUIntLE(0, 6);
  if (!Number.isSafeInteger(value)) throw pairs.damaged('a number of a run is too large');
  return value;
}

export function endOf(runs: readonly Run[]): number {
  const last = runs.at(-1);
  return last ? last.start + last.count : 0;
}

/** Index of the run that holds a cluster of the stream; the count of runs when none does. */
export function findRun(runs: readonly Run[], cluster: number): number {
  let low = 0;
  let high = runs.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const run = runs[middle]!;
    if (run.start + run.count <= cluster) low = middle + 1;
    else high = middle;
  }
  return low;
}
