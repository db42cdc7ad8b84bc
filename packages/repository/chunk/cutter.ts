/**
 * Content-defined cutting of files (gear hash with normalized sizes): an insertion moves only the
 * cuts near it. The gear table comes from the hash key, so the sizes of chunks do not tell which
 * known file was stored. FORMAT.md, section 8.
 */
import { deriveKey, digest } from '@coffer/base';
import { GEOMETRY } from '../config.ts';

const { min, mean, max } = GEOMETRY.fileChunkSizeBytes;

// Before the mean size a cut is 4 times rarer, after it 4 times more frequent than 1 in 2^18.
const MASK_BEFORE_MEAN = 0xfffff000;
const MASK_AFTER_MEAN = 0xffff0000;

export class Cutter {
  readonly #gear: Int32Array;

  constructor(hashKey: Buffer) {
    this.#gear = gearTable(deriveKey('coffer 1 gear table', hashKey));
  }

  /**
   * Length of the first chunk of `bytes`. Undefined when that cannot be told without more bytes:
   * none of them is a cut, and there may be more to come (`last` is false).
   */
  next(bytes: Buffer, last: boolean): number | undefined {
    if (bytes.length <= min) return last ? bytes.length : undefined;
    const end = Math.min(bytes.length, max);
    const cut = this.#findCut(bytes, end);
    if (cut !== undefined) return cut;
    return end === max || last ? end : undefined;
  }

  /** Cuts as much of `bytes` as can be cut; what follows the last cut waits for more. */
  cut(bytes: Buffer, last: boolean): number[] {
    const lengths: number[] = [];
    let offset = 0;
    while (offset < bytes.length) {
      const length = this.next(bytes.subarray(offset), last);
      if (length === undefined) break;
      lengths.push(length);
      offset += length;
    }
    return lengths;
  }

  #findCut(bytes: Buffer, end: number): number | undefined {
    const gear = this.#gear;
    const middle = Math.min(mean, end);
    let hash = 0;
    let index = min;
    for (; index < middle; index++) {
      hash = ((hash << 1) + gear[bytes[index]!]!) | 0;
      if ((hash & MASK_BEFORE_MEAN) === 0) return index + 1;
    }
    for (; index < end; index++) {
      hash = ((hash << 1) + gear[bytes[index]!]!) | 0;
      if ((hash & MASK_AFTER_MEAN) === 0) return index + 1;
    }
    return undefined;
  }
}

function gearTable(key: Buffer): Int32Array {
  const table = new Int32Array(256);
  for (let index = 0; index < 256; index++) {
    table[index] = digest(key, Buffer.from([index])).readInt32LE(0);
  }
  return table;
}
