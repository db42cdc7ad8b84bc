/**
 * Files that say that they are empty and are not: those of /proc, of control groups, and what some
 * file systems over FUSE make up when it is read. Elsewhere a file of no size is not opened.
 */
import { closeSync, read, statfsSync } from 'node:fs';
import { promisify } from 'node:util';
import { OPEN_NAME, openAt } from '@coffer/base/folder-calls.ts';

const FUSE = 0x65735546;

const readAsync = promisify(read);

export interface EmptyFile {
  readonly device: bigint;
  readonly folder: { readonly fd: number };
  readonly name: Buffer;
}

export class HiddenContents {
  /** By device. */
  readonly #known = new Map<bigint, boolean>();

  /** Whether a file of no size may have content there. Fails as system calls do. */
  mayHave({ device, folder, name }: EmptyFile): boolean {
    const known = this.#known.get(device);
    if (known !== undefined) return known;
    const fd = openAt(folder.fd, name, OPEN_NAME);
    try {
      const { type, blocks } = statfsSync(`/proc/self/fd/${fd}`);
      // What keeps nothing has no blocks.
      const mayHide = blocks === 0 || type >>> 0 === FUSE;
      this.#known.set(device, mayHide);
      return mayHide;
    } finally {
      closeSync(fd);
    }
  }
}

/**
 * Reads what a file holds from its beginning, as programs do that do not ask for its size: not all
 * such files can be read at an offset. Fails with `EFBIG` when it does not fit.
 */
export async function readToEnd(fd: number, target: Buffer): Promise<number> {
  let length = 0;
  while (length < target.length) {
    const { bytesRead } = await readAsync(fd, target, length, target.length - length, null);
    if (bytesRead === 0) return length;
    length += bytesRead;
  }
  const { bytesRead } = await readAsync(fd, Buffer.alloc(1), 0, 1, null);
  if (bytesRead === 0) return length;
  const reason = `it says that it is empty, and has more than ${length} bytes`;
  throw Object.assign(new Error(reason), { code: 'EFBIG' });
}
