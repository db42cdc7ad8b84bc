/** Folders of the target of a restore. */
import { assert, required } from '@coffer/base';
import { TargetFolder } from '@coffer/workloads/files/target-folder.ts';

/** A folder of the target, made when the first thing in it is wanted. */
export class OpenFolder {
  readonly #parent: OpenFolder | undefined;
  readonly #name: Buffer;
  #target: TargetFolder | undefined;
  #isClosed = false;

  constructor(parent: OpenFolder | undefined, name: Buffer, target?: TargetFolder) {
    this.#parent = parent;
    this.#name = name;
    this.#target = target;
  }

  get target(): TargetFolder {
    assert(!this.#isClosed, 'nothing is added to a folder that is finished');
    // The root folder is always given its target.
    this.#target ??= required(this.#parent, 'the root is open').target.enter(this.#name);
    return this.#target;
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
