/** Decompression of extents, whose length is known and bounded before. */
import { promisify } from 'node:util';
import { inflate, zstdDecompress } from 'node:zlib';
import type { Fields } from './fields.ts';
import type { Compression } from './item-codec.ts';
import { decompressLzo } from './lzo-codec.ts';
import { zstdFrameLength } from './zstd-frame-codec.ts';

const inflateBytes = promisify(inflate);
const zstdDecompressBytes = promisify(zstdDecompress);

/**
 * All that an extent holds. What its content does not fill is zero, as it is for the kernel. Fails
 * with `file-system-damaged`.
 */
export async function decompress(
  source: Fields,
  compression: Compression,
  sectorBytes: number,
): Promise<Buffer> {
  const target = Buffer.alloc(compression.sizeBytes);
  if (compression.algorithm === 'lzo') decompressLzo(source, target, sectorBytes);
  else (await decompressInNode(source, compression)).copy(target);
  return target;
}

async function decompressInNode(source: Fields, compression: Compression): Promise<Buffer> {
  const options = { maxOutputLength: compression.sizeBytes };
  if (compression.algorithm === 'zstd') {
    const frame = source.part(0, zstdFrameLength(source)).bytes;
    return await orDamaged(source, zstdDecompressBytes(frame, options));
  }
  return await orDamaged(source, inflateBytes(source.bytes, options));
}

async function orDamaged(source: Fields, decompressed: Promise<Buffer>): Promise<Buffer> {
  try {
    return await decompressed;
  } catch (error) {
    throw source.damaged(`it cannot be decompressed: ${String(error)}`);
  }
}
