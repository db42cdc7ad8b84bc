/** Folders of the target of a restore. */
import { assert, required } from '@coffer/base';
import { TargetFolder } from '@coffer/workloads/files/target-folder.ts';

/**
 * A folder of the target, made when the first thing in it is wanted. What is in its place, and is to
 * be overwritten, goes then.
 */
export class OpenFolder {
  readonly #parent: OpenFolder | undefined;
  readonly #name: Buffer;
  readonly #replaces: boolean;
  #target: TargetFolder | undefined;
  #isClosed = false;

  private constructor(
    parent: OpenFolder | undefined,
    { name, replaces, target }: { name: Buffer; replaces: boolean; target?: TargetFolder },
  ) {
    this.#parent = parent;
    this.#name = name;
    this.#replaces = replaces;
    this.#target = target;
  }

  static root(target: TargetFolder): OpenFolder {
    return new OpenFolder(undefined, { name: Buffer.alloc(0), replaces: false, target });
  }

  folder(name: Buffer, { replaces }: { readonly replaces: boolean }): OpenFolder {
    return new OpenFolder(this, { name, replaces });
  }

  get target(): TargetFolder {
    assert(!this.#isClosed, 'nothing is added to a folder that is finished');
    // The root folder is always given its target.
    this.#target ??= this.#enter(required(this.#parent, 'the root is open').target);
    return this.#target;
  }

  #enter(above: TargetFolder): TargetFolder {
    const found = this.#replaces ? above.typeOf(this.#name) : undefined;
    if (found !== undefined && found !== 'directory') above.remove(this.#name);
    return above.enter(this.#name);
  }

  /** True from when it is made until it is closed. */
  get isOpen(): boolean {
    return this.#target !== undefined;
  }

  /** Calls `task` with the folder. One that is closed already is opened for this while. */
  use(task: (folder: TargetFolder) => void): void {
    if (this.#target) {
      task(this.#target);
      return;
    }
    required(this.#parent, 'the root is closed last').use((above) => {
      const opened = above.enter(this.#name);
      try {
        task(opened);
      } finally {
        opened.close();
      }
    });
  }

  close(): void {
    this.#target?.close();
    this.#target = undefined;
    this.#isClosed = true;
  }
}
