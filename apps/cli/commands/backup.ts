/** `coffer backup`. */
import { realpathSync } from 'node:fs';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { CofferError, systemErrorCode } from '@coffer/base';
import { backup, type BackupResult } from '@coffer/flows/backup/backup.ts';
import { newProgress } from '@coffer/flows/progress.ts';
import type { RecoveryPoint, Repository } from '@coffer/repository';
import { formatBytes, formatDuration, printLine, printResult, reportFindings } from '../output.ts';
import { showProgress } from '../progress.ts';
import { interruptSignal } from '../run.ts';
import { namedPoint, withRepository } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';
import { ensureEmbeddedRepository } from './init.ts';

export interface BackupCommandOptions extends GlobalOptions {
  readonly item?: string;
  readonly disk?: boolean;
  readonly exclude: readonly string[];
  readonly oneFileSystem?: boolean;
  readonly tag: readonly string[];
  readonly parent?: string;
}

export async function runBackup(path: string, options: BackupCommandOptions): Promise<void> {
  const named = resolve(path);
  const tags = parseTags(options.tag);
  const source = realPath(named);
  await ensureEmbeddedRepository(options);
  const result = await withRepository(options, 'required', async (repository) => {
    const progress = newProgress();
    const parent = await chooseParent(repository, options.parent);
    return await showProgress(options, 'backup', progress, () =>
      backup({
        repository,
        path: source,
        kind: options.disk ? 'disk' : 'files',
        item: options.item ?? `${hostname()}:${named}`,
        tags,
        parent,
        exclude: options.exclude,
        oneFileSystem: options.oneFileSystem ?? false,
        progress,
        signal: interruptSignal,
      }),
    );
  });
  printResult(options, result, () => printSummary(result));
  reportFindings(options, result.findings);
}

/** A link that the user names means what it leads to; links inside are protected as links. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    const reason = systemErrorCode(error);
    const code = reason === 'ENOENT' ? 'source-not-found' : 'source-unreadable';
    throw new CofferError(code, { path, reason }, error);
  }
}

async function chooseParent(
  repository: Repository,
  parent: string | undefined,
): Promise<RecoveryPoint | 'latest' | 'none'> {
  if (parent === undefined) return 'latest';
  return parent === 'none' ? 'none' : await namedPoint(repository, parent);
}

/** Fails with `usage`. */
function parseTags(tags: readonly string[]): Record<string, string> {
  const parsed: Record<string, string> = {};
  for (const tag of tags) {
    const equals = tag.indexOf('=');
    if (equals <= 0) throw new CofferError('usage', { tag, expected: 'KEY=VALUE' });
    parsed[tag.slice(0, equals)] = tag.slice(equals + 1);
  }
  return parsed;
}

function printSummary(result: BackupResult): void {
  const { point, item, bytesSource, bytesRead, bytesStored, durationMs } = result;
  printLine(`Made point ${point} of ${item} in ${formatDuration(durationMs)}`);
  const source = `source ${formatBytes(bytesSource)}`;
  printLine(`${source}, read ${formatBytes(bytesRead)}, stored ${formatBytes(bytesStored)}`);
}
