// Copies a disk image to another format, as one process of its own: SOURCE TARGET FORMAT.
import { tmpdir } from 'node:os';
import { systemClock, systemRandom, TaskQueue } from '@coffer/base';
import { alignedSharedBuffer } from '@coffer/base/libc.ts';
import { createImage, openImage } from '@coffer/disk/image.ts';
import type { ImageFormat } from '@coffer/disk/image-format.ts';

const PIECE_BYTES = 4 * 2 ** 20;
const PIECES_AT_ONCE = 8;

const [source, target, format] = process.argv.slice(2) as [string, string, ImageFormat];
const options = { clock: systemClock, random: systemRandom, temporaryFolder: tmpdir() };
const from = await openImage(source, options);
const { sizeBytes } = from;
const to = await createImage(
  { path: target, format, sizeBytes, subformat: 'dynamic' },
  { ...options, format },
);
const buffers = Array.from({ length: PIECES_AT_ONCE }, () => alignedSharedBuffer(PIECE_BYTES));
const queue = new TaskQueue(PIECES_AT_ONCE);
for await (const { offset, length, kind } of from.extents()) {
  if (kind === 'zero') continue;
  for (let done = 0; done < length; done += PIECE_BYTES) {
    const size = Math.min(PIECE_BYTES, length - done);
    await queue.add(async () => {
      const buffer = buffers.pop()!;
      const part = buffer.subarray(0, size);
      await from.read(offset + done, part);
      await to.write(offset + done, part);
      buffers.push(buffer);
    });
  }
}
await queue.drain();
await to.flush();
await to.close();
await from.close();
