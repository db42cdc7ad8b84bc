/** What a flow tells while it runs. */

export interface Progress {
  /** Bytes dealt with so far, read or known as unchanged. */
  bytesDone: number;
  /** Bytes there are to deal with; 0 as long as that is not known. */
  bytesTotal: number;
  /** Files or chunks dealt with. */
  itemsDone: number;
}

export function newProgress(): Progress {
  return { bytesDone: 0, bytesTotal: 0, itemsDone: 0 };
}
