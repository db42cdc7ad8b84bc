/** Descriptors of the folders whose files are one piece of work, apart from those that a walk holds. */
import { closeSync } from 'node:fs';

/** A folder that is open by now, and may be closed before the work is done. */
interface Openable {
  /** The caller closes it. */
  openApart(): number;
}

export class BatchFolders<Folder extends Openable> implements Disposable {
  readonly #indexes = new Map<Folder, number>();
  readonly opened: { readonly folder: Folder; readonly fd: number }[] = [];

  /** Its place among those that are open. Fails as system calls do when it cannot be opened. */
  indexOf(folder: Folder): number {
    const known = this.#indexes.get(folder);
    if (known !== undefined) return known;
    const index = this.opened.push({ folder, fd: folder.openApart() }) - 1;
    this.#indexes.set(folder, index);
    return index;
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.opened.splice(0)) closeSync(fd);
  }
}
