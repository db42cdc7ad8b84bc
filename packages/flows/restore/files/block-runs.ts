/** Which parts of a file have to be written: blocks of it, joined where they are alike. */

/** The block size of most file systems, so the smallest hole. */
const BLOCK_SIZE_BYTES = 4096;
const ZEROES = Buffer.alloc(BLOCK_SIZE_BYTES);

export interface BlockRun {
  /** Of the bytes given. */
  readonly start: number;
  end: number;
  /** `kept`: the current bytes are the same already; `zero`: all of it is zero. */
  readonly kind: 'kept' | 'zero' | 'data';
}

/**
 * The runs of `wanted`, from its start to its end. `current` is what is there already; it may be
 * shorter, and is undefined where nothing is there.
 */
export function* blockRuns(wanted: Buffer, current: Buffer | undefined): Generator<BlockRun> {
  let run: BlockRun | undefined;
  for (let start = 0; start < wanted.length; start += BLOCK_SIZE_BYTES) {
    const end = Math.min(start + BLOCK_SIZE_BYTES, wanted.length);
    const kind = kindOf(wanted, current, start, end);
    if (run?.kind === kind) {
      run.end = end;
      continue;
    }
    if (run) yield run;
    run = { start, end, kind };
  }
  if (run) yield run;
}

function kindOf(
  wanted: Buffer,
  current: Buffer | undefined,
  start: number,
  end: number,
): BlockRun['kind'] {
  const isKept =
    current !== undefined &&
    current.length >= end &&
    wanted.compare(current, start, end, start, end) === 0;
  if (isKept) return 'kept';
  return wanted.compare(ZEROES, 0, end - start, start, end) === 0 ? 'zero' : 'data';
}
