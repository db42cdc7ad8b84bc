/** What the parts of one restore of files share: limits, counts, findings. */
import { type RunContext, TaskQueue } from '@coffer/base';
import { FileThreads } from '@coffer/workloads/files/file-threads.ts';
import type { RelativePath } from '../../relative-path.ts';
import type { PathFindings } from './path-findings.ts';

/** Batches and single files under way at once. */
export const TASKS_AT_ONCE = 8;

export interface FilesRestoreResult {
  bytesWritten: number;
  bytesKept: number;
  /** Paths (as bytes, in latin1) of what has another name than it had, and that name. */
  readonly names: Map<string, Buffer>;
}

export class RestoreRun {
  readonly context: RunContext;
  readonly findings: PathFindings;
  readonly tasks = new TaskQueue(TASKS_AT_ONCE);
  readonly threads = new FileThreads();
  readonly result: FilesRestoreResult = { bytesWritten: 0, bytesKept: 0, names: new Map() };

  constructor(context: RunContext, findings: PathFindings) {
    this.context = context;
    this.findings = findings;
  }

  /** Remembers what is there under another name than it had. */
  named(relative: RelativePath, name: Buffer): void {
    this.result.names.set(relative.key, name);
  }

  /**
   * Begins what is to be done for one path, when fewer tasks than the limit are under way. `stored`
   * is resolved when it is done, and also when it became a finding.
   */
  async start(
    relative: RelativePath,
    task: () => Promise<void>,
  ): Promise<{ readonly stored: Promise<void> }> {
    const stored = Promise.withResolvers<void>();
    // It is thrown by the queue, too; until somebody waits for this one it must not count.
    stored.promise.catch(() => {});
    await this.tasks.add(async () => {
      try {
        this.context.signal.throwIfAborted();
        await this.findings.attempt(relative, task);
        stored.resolve();
      } catch (error) {
        stored.reject(error);
        throw error;
      }
    });
    return { stored: stored.promise };
  }
}
