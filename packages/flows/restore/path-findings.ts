/** What could not be restored of single paths, while the run goes on. */
import { type Finding, isCofferError, systemErrorCode } from '@coffer/base';
import { isChunkError } from '@coffer/repository';
import type { OnRefused } from '@coffer/workloads/files/target-metadata.ts';
import type { RelativePath } from '../relative-path.ts';

export class PathFindings {
  readonly #onFinding: (finding: Finding) => void;
  /** What the target cannot keep, by property: the first path, and how many there are. */
  readonly #refused = new Map<string, { first: Finding; count: number }>();
  /** Paths as bytes, of what is not there as it should be. */
  readonly #failed = new Set<string>();

  constructor(onFinding: (finding: Finding) => void) {
    this.#onFinding = onFinding;
  }

  add(code: string, relative: RelativePath, message: string): void {
    this.#failed.add(relative.key);
    this.#tell(code, relative, message);
  }

  /** False for what was restored, if not with all of its metadata. */
  hasFailed(relative: RelativePath): boolean {
    return this.#failed.size > 0 && this.#failed.has(relative.key);
  }

  #tell(code: string, relative: RelativePath, message: string): void {
    this.#onFinding({ code, path: relative.bytes.toString('utf8'), message });
  }

  /** What concerns one path is a finding; what concerns the store or the space ends the run. */
  async attempt<T>(relative: RelativePath, task: () => T | Promise<T>): Promise<T | undefined> {
    try {
      return await task();
    } catch (error) {
      this.caught(relative, error);
      return undefined;
    }
  }

  /** The same for a failure that is known: throws it when it concerns more than the path. */
  caught(relative: RelativePath, error: unknown): void {
    const code = pathErrorCode(error);
    if (code === undefined) throw error;
    this.add(code, relative, error instanceof Error ? error.message : String(error));
  }

  /** Takes what of the metadata of a path could not be restored. */
  refused(relative: RelativePath): OnRefused {
    return (what, error) => this.#count(METADATA_CODE_OF[what], relative, error);
  }

  /** A second name of a file became a file of its own. */
  copiedInsteadOfLinked(relative: RelativePath, error: unknown): void {
    this.#count('hard-link-not-restored', relative, error);
  }

  /** A link or a node that the target cannot have. */
  missing(what: 'link' | 'node', relative: RelativePath, error: unknown): void {
    this.#failed.add(relative.key);
    this.#count(`${what}-not-restored`, relative, error);
  }

  /** What is there under another name than it had. */
  renamed(relative: RelativePath, name: Buffer): void {
    const message = `the target cannot hold its name: it is ${name.toString('utf8')}`;
    this.#tell('name-not-restored', relative, message);
  }

  #count(code: string, relative: RelativePath, error: unknown): void {
    const known = this.#refused.get(code);
    if (known) {
      known.count++;
      return;
    }
    const message = error instanceof Error ? error.message : String(error);
    this.#refused.set(code, {
      first: { code, path: relative.bytes.toString('utf8'), message },
      count: 1,
    });
  }

  /** Tells what the target could not keep, once for each property. */
  tellRefused(): void {
    for (const { first, count } of this.#refused.values()) {
      const others = count > 1 ? ` (and ${count - 1} others)` : '';
      this.#onFinding({ ...first, message: `${first.message}${others}` });
    }
    this.#refused.clear();
  }
}

const METADATA_CODE_OF = {
  owner: 'owner-not-restored',
  attribute: 'attribute-not-restored',
  mode: 'mode-not-restored',
  time: 'time-not-restored',
} as const;

/** Findings of things that are there with their content, but not with all that belongs to them. */
export const METADATA_CODES: ReadonlySet<string> = new Set([
  ...Object.values(METADATA_CODE_OF),
  'hard-link-not-restored',
  'name-not-restored',
]);

/** Failures of Coffer's own that concern one path. */
const PATH_CODES = [
  'target-unwritable',
  'object-damaged',
  'file-system-damaged',
  'file-system-unsupported',
] as const;
const GENERAL_SYSTEM_CODES = ['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'EMFILE', 'ENFILE'];

/** The code of a failure that concerns one path; undefined for one that concerns all of them. */
function pathErrorCode(error: unknown): string | undefined {
  if (isChunkError(error)) return error.code;
  if (isCofferError(error)) return PATH_CODES.find((code) => code === error.code);
  const code = systemErrorCode(error);
  return code === undefined || GENERAL_SYSTEM_CODES.includes(code) ? undefined : 'not-restored';
}
