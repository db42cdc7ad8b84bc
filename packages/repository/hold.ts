/** Holds: points that garbage collection and removal pass over. FORMAT.md, section 14. */
import { CofferError } from '@coffer/base';
import * as v from 'valibot';
import { count, decodeRecord, encodeChecked, hexOf } from './record.ts';

const Hold = v.object({
  /** Its id. */
  point: hexOf(16),
  heldAt: count,
});

export type Hold = v.InferOutput<typeof Hold>;

export function holdName(pointId: string): string {
  return `holds/${pointId}`;
}

export function encodeHold(hold: Hold): Buffer {
  return encodeChecked('hold', Hold, hold);
}

/** Fails with `object-damaged`. */
export function checkHold(bytes: Buffer, name: string): Hold {
  const hold = decodeRecord('hold', Hold, bytes, name);
  if (holdName(hold.point) === name) return hold;
  throw new CofferError('object-damaged', { object: name, reason: 'its name is wrong' });
}
