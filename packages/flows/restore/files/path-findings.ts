/** What could not be restored of single paths, while the run goes on. */
import {
  type CofferError,
  type Finding,
  type FindingCode,
  findingOf,
  isCofferError,
  reasonOf,
  type RunContext,
  systemErrorCode,
  tellFinding,
} from '@coffer/base';
import { textOfBytes } from '@coffer/base/path-text.ts';
import { isChunkError } from '@coffer/repository';
import type { OnRefused } from '@coffer/workloads/files/target-metadata.ts';
import type { RelativePath } from '../../relative-path.ts';

export class PathFindings {
  readonly #run: Pick<RunContext, 'tell'>;
  /** What the target cannot keep, by property: the first path, and how many there are. */
  readonly #refused = new Map<string, { first: Finding; count: number }>();
  /** Paths as bytes, of what is not there as it should be. */
  readonly #failed = new Set<string>();

  constructor(run: Pick<RunContext, 'tell'>) {
    this.#run = run;
  }

  add(code: FindingCode, relative: RelativePath, details: Finding['details']): void {
    this.#failed.add(relative.key);
    this.#tell({ code, subject: relative.subject, details });
  }

  /** The same for what the repository, or the source, has failed with. */
  failed(relative: RelativePath, error: CofferError): void {
    this.#failed.add(relative.key);
    this.#tell(findingOf(error, relative.subject));
  }

  /** False for what was restored, if not with all of its metadata. */
  hasFailed(relative: RelativePath): boolean {
    return this.#failed.size > 0 && this.#failed.has(relative.key);
  }

  #tell(finding: Finding): void {
    tellFinding(this.#run, finding);
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
    if (!concernsPath(error)) throw error;
    if (isCofferError(error)) this.failed(relative, error);
    else this.add('not-restored', relative, { reason: reasonOf(error) });
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
    const details = { name: textOfBytes(name) };
    this.#tell({ code: 'name-not-restored', subject: relative.subject, details });
  }

  #count(code: FindingCode, relative: RelativePath, error: unknown): void {
    const known = this.#refused.get(code);
    if (known) {
      known.count++;
      return;
    }
    const first = { code, subject: relative.subject, details: { reason: reasonOf(error) } };
    this.#refused.set(code, { first, count: 1 });
  }

  /** Tells what the target could not keep, once for each property. */
  tellRefused(): void {
    for (const { first, count } of this.#refused.values()) {
      const others = count > 1 ? count - 1 : undefined;
      this.#tell({ ...first, details: { ...first.details, others } });
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

/** Failures of Coffer's own that concern one path. */
const PATH_CODES = [
  'target-unwritable',
  'object-damaged',
  'file-system-damaged',
  'file-system-unsupported',
] as const;
const GENERAL_SYSTEM_CODES = ['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'EMFILE', 'ENFILE'];

function concernsPath(error: unknown): boolean {
  if (isChunkError(error)) return true;
  if (isCofferError(error)) return PATH_CODES.some((code) => code === error.code);
  const code = systemErrorCode(error);
  return code !== undefined && !GENERAL_SYSTEM_CODES.includes(code);
}
