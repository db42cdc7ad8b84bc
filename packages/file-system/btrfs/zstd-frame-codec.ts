/** Where a frame of Zstandard ends (RFC 8878, 3.1.1): what is behind it fills the sector. */
import type { Fields } from './fields.ts';

const MAGIC = 0xfd2f_b528;
const RLE_BLOCK = 1;

/** Fails with `file-system-damaged` when there is no whole frame. */
export function zstdFrameLength(fields: Fields): number {
  if (fields.u32(0) !== MAGIC) throw fields.damaged('no frame of Zstandard');
  const descriptor = fields.u8(4);
  const isSingle = (descriptor & 0x20) !== 0;
  const sizeBytes = [isSingle ? 1 : 0, 2, 4, 8][descriptor >> 6]!;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!;
  let at = 5 + (isSingle ? 0 : 1) + dictionaryBytes + sizeBytes;
  for (let isLast = false; !isLast;) {
    const header = fields.u16(at) + (fields.u8(at + 2) << 16);
    isLast = (header & 1) !== 0;
    at += 3 + (((header >> 1) & 3) === RLE_BLOCK ? 1 : header >> 3);
  }
  if ((descriptor & 4) !== 0) at += 4;
  return fields.part(0, at).length;
}
