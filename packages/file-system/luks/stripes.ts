/** The anti-forensic splitter: LUKS1 on-disk format specification, section 2.4. */
import { hash } from 'node:crypto';
import type { Hash } from './algorithm-codec.ts';

/** The key that `stripes` were split from; they may have padding behind them. */
export function mergeStripes(stripes: Buffer, keyBytes: number, count: number, by: Hash): Buffer {
  const key = Buffer.alloc(keyBytes);
  for (let index = 0; index < count; index++) {
    const start = index * keyBytes;
    if (index > 0) diffuse(key, by);
    for (let at = 0; at < keyBytes; at++) key[at]! ^= stripes[start + at]!;
  }
  return key;
}

/** Every block of the size of a digest becomes the digest of its number and itself. */
function diffuse(key: Buffer, { name, digestBytes }: Hash): void {
  for (let start = 0, index = 0; start < key.length; start += digestBytes, index++) {
    const block = key.subarray(start, start + digestBytes);
    const numbered = Buffer.allocUnsafe(4 + block.length);
    numbered.writeUInt32BE(index);
    block.copy(numbered, 4);
    hash(name, numbered, 'buffer').copy(block);
  }
}
