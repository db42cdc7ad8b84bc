/** The bytes of a file of any file system, in order. */
import type { FileMetadata } from '@coffer/base';
import type { FileSystem } from '@coffer/file-system/file-system.ts';

const PIECE_SIZE_BYTES = 1024 * 1024;

/** Bytes that are given out are valid until the next ones are asked for. */
export async function* readFile<Node extends FileMetadata>(
  fileSystem: FileSystem<Node>,
  file: Node,
): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafe(Math.min(PIECE_SIZE_BYTES, Math.max(1, file.sizeBytes)));
  for (let offset = 0; offset < file.sizeBytes;) {
    const length = await fileSystem.read(file, offset, buffer);
    if (length === 0) return;
    yield buffer.subarray(0, length);
    offset += length;
  }
}
