/** One at a time may give a block a place in the file, or say which of its sectors are present. */
export class BlockLocks {
  readonly #held = new Map<number, Promise<void>>();

  /** Runs the task when no other one holds one of the blocks. */
  async run(firstBlock: number, lastBlock: number, task: () => Promise<void>): Promise<void> {
    let release = (): void => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    // All take them in one order, so that no two wait for each other.
    for (let block = firstBlock; block <= lastBlock; block++) {
      for (let held = this.#held.get(block); held; held = this.#held.get(block)) await held;
      this.#held.set(block, released);
    }
    try {
      await task();
    } finally {
      for (let block = firstBlock; block <= lastBlock; block++) this.#held.delete(block);
      release();
    }
  }
}
