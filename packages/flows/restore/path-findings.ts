/** What could not be restored of single paths, while the run goes on. */
import { type Finding, isCofferError, systemErrorCode } from '@coffer/base';
import { isChunkError } from '@coffer/repository';
import type { OnRefused } from '@coffer/workloads/files/target-folder.ts';

export class PathFindings {
  readonly #onFinding: (finding: Finding) => void;
  readonly #refusedOnce = new Set<string>();
  /** Paths as bytes, of what is not there as it should be. */
  readonly #failed = new Set<string>();

  constructor(onFinding: (finding: Finding) => void) {
    this.#onFinding = onFinding;
  }

  add(code: string, relative: Buffer, message: string): void {
    this.#failed.add(relative.toString('latin1'));
    this.#tell(code, relative, message);
  }

  /** False for what was restored, if not with all of its metadata. */
  hasFailed(relative: Buffer): boolean {
    return this.#failed.has(relative.toString('latin1'));
  }

  #tell(code: string, relative: Buffer, message: string): void {
    this.#onFinding({ code, path: relative.toString('utf8'), message });
  }

  /** What concerns one path is a finding; what concerns the store or the space ends the run. */
  async attempt(relative: Buffer, task: () => void | Promise<void>): Promise<void> {
    try {
      await task();
    } catch (error) {
      const code = pathErrorCode(error);
      if (code === undefined) throw error;
      this.add(code, relative, error instanceof Error ? error.message : String(error));
    }
  }

  /** Takes what of the metadata of a path could not be restored. */
  refused(relative: Buffer): OnRefused {
    return (what, error) => {
      const message = error instanceof Error ? error.message : String(error);
      if (what === 'attribute') this.#tell('attribute-not-restored', relative, message);
      else if (!this.#refusedOnce.has(what)) {
        this.#refusedOnce.add(what);
        this.#tell('owner-not-restored', relative, `${message} (told once)`);
      }
    };
  }
}

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
