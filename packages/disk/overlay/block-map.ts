/** Which blocks of a disk are there: a bit for each. Pure. */

/** A run of blocks that are all there, or all not. */
export interface BlockRun {
  readonly firstBlock: number;
  readonly blockCount: number;
  readonly isPresent: boolean;
}

/** A part of the map, in bytes. */
export interface ChangedBytes {
  readonly start: number;
  readonly bytes: Buffer;
}

export class BlockMap {
  readonly bits: Buffer;
  /** Bytes of the map that were changed since they were last taken: from, to before. */
  #changed: { start: number; end: number } | undefined;

  constructor(bits: Buffer) {
    this.bits = bits;
  }

  has(block: number): boolean {
    return ((this.bits[block >> 3] ?? 0) & (1 << (block & 7))) !== 0;
  }

  add(firstBlock: number, blockCount: number): void {
    for (let block = firstBlock; block < firstBlock + blockCount; block++) {
      this.bits[block >> 3]! |= 1 << (block & 7);
    }
    this.#change(firstBlock >> 3, ((firstBlock + blockCount - 1) >> 3) + 1);
  }

  /** The bytes of the map that changed since they were last taken, as they are now. */
  takeChanged(): ChangedBytes | undefined {
    const changed = this.#changed;
    this.#changed = undefined;
    if (!changed) return undefined;
    return {
      start: changed.start,
      bytes: Buffer.from(this.bits.subarray(changed.start, changed.end)),
    };
  }

  /** Takes back what could not be stored. */
  giveBack({ start, bytes }: ChangedBytes): void {
    this.#change(start, start + bytes.length);
  }

  #change(start: number, end: number): void {
    const before = this.#changed ?? { start, end };
    this.#changed = { start: Math.min(before.start, start), end: Math.max(before.end, end) };
  }

  *runs(firstBlock: number, endBlock: number): Generator<BlockRun> {
    for (let block = firstBlock; block < endBlock;) {
      const isPresent = this.has(block);
      let end = block + 1;
      while (end < endBlock && this.has(end) === isPresent) end++;
      yield { firstBlock: block, blockCount: end - block, isPresent };
      block = end;
    }
  }
}
