/** Reads restored files back and compares them with what they were restored from. */
import { closeSync } from 'node:fs';
import { isCofferError, reasonOf, required, type RunContext, systemErrorCode } from '@coffer/base';
import {
  OPEN_FOLDER,
  OPEN_NAME,
  OPEN_NO_WAIT,
  OPEN_READ,
  openAt,
  openPath,
} from '@coffer/base/folder-calls.ts';
import { HeldFolder } from '@coffer/workloads/files/held-folder.ts';
import type { RelativePath } from '../../relative-path.ts';
import type { FilesSource } from './files-source.ts';
import { type WalkedEntry, type WalkOptions, walkSource } from './walk-source.ts';

export interface VerifyOptions extends WalkOptions {
  /** What has another name in the target: `FilesRestoreResult.names`. */
  readonly names: ReadonlyMap<string, Buffer>;
}

export async function verifyFiles(
  run: RunContext,
  source: FilesSource,
  targetPath: Buffer,
  options: VerifyOptions,
): Promise<void> {
  const folders = new RestoredFolders(targetPath, options.names);
  try {
    await walkSource(run, source, options, async (walked) => {
      if (walked.entry.type !== 'file') return;
      const { findings } = options;
      await findings.attempt(walked.relative, async () => {
        const reason = await difference(source, walked, () => folders.openFile(walked.relative));
        if (reason !== undefined) findings.add('differs', walked.relative, { reason });
      });
    });
  } finally {
    folders.close();
  }
}

/** Folders that are open at once. */
const OPEN_FOLDERS_MAX = 128;

/** The folders of the target, from the root to the one that the walk is in. */
class RestoredFolders {
  readonly #names: VerifyOptions['names'];
  readonly #root: HeldFolder;
  readonly #way: { readonly relative: RelativePath; readonly folder: HeldFolder }[] = [];

  constructor(targetPath: Buffer, names: VerifyOptions['names']) {
    const fd = openPath(targetPath, OPEN_NAME | OPEN_FOLDER);
    this.#root = HeldFolder.root(fd, { openFlags: OPEN_NAME, openMax: OPEN_FOLDERS_MAX });
    this.#names = names;
  }

  openFile(relative: RelativePath): number {
    const folder = this.#folderAt(required(relative.above, 'a file is in a folder'));
    return openAt(folder.fd, this.#nameOf(relative), OPEN_READ | OPEN_NO_WAIT);
  }

  #folderAt(relative: RelativePath): HeldFolder {
    const missing: RelativePath[] = [];
    let at = relative;
    for (; at.above && this.#way[at.depth - 1]?.relative !== at; at = at.above) missing.push(at);
    while (this.#way.length > at.depth) this.#way.pop()?.folder.close();
    let folder = this.#way.at(-1)?.folder ?? this.#root;
    for (const below of missing.toReversed()) {
      const name = this.#nameOf(below);
      folder = folder.hold(name, openAt(folder.fd, name, OPEN_NAME | OPEN_FOLDER));
      this.#way.push({ relative: below, folder });
    }
    return folder;
  }

  /** The name that the target has for it. */
  #nameOf(relative: RelativePath): Buffer {
    const other = this.#names.size > 0 ? this.#names.get(relative.key) : undefined;
    return other ?? relative.name;
  }

  close(): void {
    while (this.#way.length > 0) this.#way.pop()?.folder.close();
    this.#root.release();
  }
}

async function difference(
  source: FilesSource,
  { entry }: WalkedEntry,
  open: () => number,
): Promise<string | undefined> {
  try {
    const fd = open();
    try {
      return await source.difference(entry, fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (isCofferError(error) || systemErrorCode(error) === undefined) throw error;
    return reasonOf(error);
  }
}
