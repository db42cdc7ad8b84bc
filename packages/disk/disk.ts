/**
 * The contract of a disk: bytes at offsets. Raw files, block devices, images and recovery points are
 * disks; backup and restore are copies from disk to disk.
 */

export interface Extent {
  readonly offset: number;
  readonly length: number;
  /** `zero` reads as zeroes and need not be read. */
  readonly kind: 'data' | 'zero';
}

/** A part of a disk, in bytes. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

export interface Disk {
  readonly sizeBytes: number;

  /**
   * Fills `target` with the bytes at `offset`. Several reads may run at once. Fails with
   * `source-changed` when the disk ends earlier than its size says.
   */
  read(offset: number, target: Uint8Array): Promise<void>;

  /**
   * What the disk, or the range of it, is made of: in order, without gaps, and not beyond the range.
   * Neighbours may be of one kind.
   */
  extents(range?: ByteRange): Iterable<Extent> | AsyncIterable<Extent>;

  close(): Promise<void>;
}

export interface WritableDisk extends Disk {
  /** Several writes of different places may run at once. */
  write(offset: number, bytes: Uint8Array): Promise<void>;

  /** Makes a range read as zeroes, and frees its space where that is possible. */
  zero(offset: number, length: number): Promise<void>;

  /** Returns when all that was written is durable. */
  flush(): Promise<void>;
}

export function wholeOf({ sizeBytes }: Disk): ByteRange {
  return { offset: 0, length: sizeBytes };
}
