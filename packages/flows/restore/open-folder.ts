/** Folders of the target of a restore. */
import { required } from '@coffer/base';
import { TargetFolder } from '@coffer/workloads/files/target-folder.ts';

/** A folder of the target, made when the first thing in it is wanted. */
export class OpenFolder {
  readonly #parent: OpenFolder | undefined;
  readonly #name: Buffer;
  #target: TargetFolder | undefined;

  constructor(parent: OpenFolder | undefined, name: Buffer, target?: TargetFolder) {
    this.#parent = parent;
    this.#name = name;
    this.#target = target;
  }

  get target(): TargetFolder {
    // The root folder is always given its target.
    this.#target ??= required(this.#parent, 'the root is open').target.enter(this.#name);
    return this.#target;
  }

  get isMade(): boolean {
    return this.#target !== undefined;
  }

  close(): void {
    this.#target?.close();
  }
}
