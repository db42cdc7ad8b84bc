/** Folders of the target of a restore. */
import { assert, required } from '@coffer/base';
import type { NameInTarget, TargetFolder } from '@coffer/workloads/files/target-folder.ts';
import { underItsName } from './target-file.ts';

export interface NewFolder {
  readonly name: Buffer;
  /** What has the name, and is no folder, goes. */
  readonly replaces: boolean;
  /** Told the name that it has instead, where the target cannot hold its own. */
  readonly onRenamed: (name: Buffer) => void;
}

/**
 * A folder of the target, made when the first thing in it is wanted. What is in its place, and is to
 * be overwritten, goes then.
 */
export class OpenFolder {
  readonly #parent: OpenFolder | undefined;
  #name: Buffer;
  readonly #replaces: boolean;
  readonly #onRenamed: (name: Buffer) => void;
  #target: TargetFolder | undefined;
  #isClosed = false;

  private constructor(
    parent: OpenFolder | undefined,
    { name, replaces, onRenamed, target }: NewFolder & { target?: TargetFolder },
  ) {
    this.#parent = parent;
    this.#name = name;
    this.#replaces = replaces;
    this.#onRenamed = onRenamed;
    this.#target = target;
  }

  static root(target: TargetFolder): OpenFolder {
    const itself = { name: Buffer.alloc(0), replaces: false, onRenamed: () => {} };
    return new OpenFolder(undefined, { ...itself, target });
  }

  folder(folder: NewFolder): OpenFolder {
    return new OpenFolder(this, folder);
  }

  get target(): TargetFolder {
    assert(!this.#isClosed, 'nothing is added to a folder that is finished');
    return this.#target ?? OpenFolder.#make(this);
  }

  /** With those above it that are not made yet. */
  static #make(wanted: OpenFolder): TargetFolder {
    const unmade: OpenFolder[] = [];
    let folder = wanted;
    // The root folder is always given its target.
    for (; !folder.#target; folder = required(folder.#parent, 'the root is open')) {
      unmade.push(folder);
    }
    let target = folder.#target;
    for (const below of unmade.toReversed()) {
      target = below.#enter(target);
      below.#target = target;
    }
    return target;
  }

  #enter(above: TargetFolder): TargetFolder {
    const found = this.#replaces ? above.typeOf(this.#name) : undefined;
    if (found !== undefined && found !== 'directory') above.remove(this.#name);
    const named = { name: this.#name, onRenamed: this.#onRenamed };
    const { name, made } = underItsName(named, (given) => above.enter(given));
    this.#name = name;
    return made;
  }

  /** True from when it is made until it is closed. */
  get isOpen(): boolean {
    return this.#target !== undefined && !this.#isClosed;
  }

  /** A name of what was restored here, also when the folder is closed already. */
  at(name: Buffer): NameInTarget {
    return { folder: required(this.#target, 'a folder is made before what is in it'), name };
  }

  close(): void {
    if (!this.#isClosed) this.#target?.close();
    this.#isClosed = true;
  }
}
