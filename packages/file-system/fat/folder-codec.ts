/** What a name in a folder of FAT or exFAT says. */
export interface FatEntry {
  /** UTF-8. */
  readonly name: Buffer;
  readonly isFolder: boolean;
  readonly isReadOnly: boolean;
  readonly modifiedNs: bigint;
  readonly firstCluster: number;
  readonly sizeBytes: number;
  /** Bytes behind these read as zeroes, although they have clusters (exFAT). */
  readonly validBytes: number;
  /** The clusters follow each other, and the table says nothing of them (exFAT). */
  readonly isContiguous: boolean;
  /** The record in the folder, counted from 0. */
  readonly index: number;
}

/** What can be read of a folder: damaged records are counted, and others are given. */
export interface FatFolder {
  readonly entries: readonly FatEntry[];
  readonly damagedCount: number;
  /** Of the volume; the root folder has it. */
  readonly label: string | undefined;
}

export const RECORD_BYTES = 32;

export const ATTRIBUTE = { readOnly: 0x01, label: 0x08, folder: 0x10 } as const;
