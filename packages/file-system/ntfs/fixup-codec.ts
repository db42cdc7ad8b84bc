/**
 * Update sequences: each 512 bytes of a record end with the same number as its head says, and the
 * true bytes are kept in the head. A record that was written in part only is found by that.
 */
import type { Fields } from './fields.ts';

const STRIDE_BYTES = 512;

/** Checks the record, and puts the true bytes back in place. */
export function undoFixups(record: Fields): void {
  const at = record.u16(4);
  const count = record.u16(6);
  const strideCount = record.length / STRIDE_BYTES;
  if (count !== strideCount + 1 || at < 8 || at + 2 * count > STRIDE_BYTES) {
    throw record.damaged(`an update sequence of ${count} numbers at ${at}`);
  }
  const sequence = record.u16(at);
  for (let index = 1; index < count; index++) {
    const end = index * STRIDE_BYTES - 2;
    if (record.u16(end) !== sequence) throw record.damaged(`torn in its sector ${index - 1}`);
    record.bytes.writeUInt16LE(record.u16(at + 2 * index), end);
  }
}
