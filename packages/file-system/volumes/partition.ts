import type { CofferError } from '@coffer/base';

/** A part of a disk that a partition table names; bytes. */
export interface Partition {
  /** As the table counts: from 1; logical partitions from 5. */
  readonly number: number;
  readonly offset: number;
  readonly length: number;
  /** What it is for, as the table says: a GUID, or two digits (`82`); in lower case. */
  readonly type: string;
  /** The name that the table gives it; only a GPT has names. */
  readonly label: string | undefined;
}

export interface PartitionTable {
  readonly partitions: readonly Partition[];
  /** What is damaged of the table: there may be more partitions than those found. */
  readonly problem: CofferError | undefined;
}
