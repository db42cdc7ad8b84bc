/** `coffer backup`. */
import { realpathSync } from 'node:fs';
import { hostname } from 'node:os';
import { assert, CofferError, systemErrorCode } from '@coffer/base';
import { bytesOfText, shownText, textOfBytes } from '@coffer/base/path-text.ts';
import { isNbdUri } from '@coffer/disk/nbd/address.ts';
import {
  backup,
  type BackupResult,
  type BackupSource,
  type FilesSource,
} from '@coffer/flows/backup/backup.ts';
import { openDiskSource } from '@coffer/flows/backup/open-source.ts';
import { BackupRequest, type BackupRequestOf, parseRequest } from '@coffer/flows/request.ts';
import { checkPointLabels, type Repository } from '@coffer/repository';
import { absolutePath } from '../arguments.ts';
import { commandRun } from '../compose.ts';
import { notebooksFolder } from '../cache-folder.ts';
import { tlsOfAddress } from '../nbd-tls.ts';
import { formatBytes, formatDuration, printLine, printOutcome } from '../output.ts';
import { withBar } from '../progress.ts';
import { namedPoint, withWriter } from '../session.ts';
import { isVmName } from '../libvirt/vm-name.ts';
import { parseTags } from '../tags.ts';
import type { VmBackupCommandOptions } from './backup-machines.ts';
import { ensureEmbeddedRepository } from './init.ts';

export interface BackupCommandOptions extends VmBackupCommandOptions {
  readonly disk?: boolean;
  readonly format?: string;
  readonly exclude: readonly string[];
  readonly oneFileSystem?: boolean;
  readonly parent?: string;
}

export async function runBackup(
  paths: readonly string[],
  options: BackupCommandOptions,
): Promise<void> {
  const areVms = paths.map((path) => isVmName(path) && !options.disk);
  if (areVms.every(Boolean)) {
    const { runBackupMachines } = await import('./backup-machines.ts');
    await runBackupMachines(paths, options);
    return;
  }
  const [path, ...others] = paths;
  if (path === undefined || others.length > 0) {
    throw new CofferError('usage', { reason: 'only machines can be backed up several at once' });
  }
  refuseOptionsOfMachines(options);
  await runBackupPath(path, options);
}

/** What is asked for is not passed over in silence. Fails with `usage`. */
function refuseOptionsOfMachines(options: BackupCommandOptions): void {
  const { together, memory, pause, includeSwap } = options;
  const given = {
    '--together': together,
    '--memory': memory,
    '--pause': pause,
    '--include-swap': includeSwap,
  };
  const wrong = Object.entries(given).find(([, isGiven]) => isGiven);
  if (wrong) throw new CofferError('usage', { option: wrong[0], reason: 'it is for machines' });
}

async function runBackupPath(path: string, options: BackupCommandOptions): Promise<void> {
  const request = backupRequestOf(path, options);
  const { tags } = request;
  // Opened first: who has nothing to back up needs no repository, either.
  const opened = await openSource(request);
  const item = request.item ?? `${hostname()}:${shownText(opened.path)}`;
  try {
    checkPointLabels({ item, tags });
    await ensureEmbeddedRepository(options);
    const result = await withWriter(options, async (repository) => {
      const source = await opened.source(repository);
      return await withBar(options, (run) =>
        backup(run, { ...request, repository, source, item, notebooks: notebooksFolder() }),
      );
    });
    printOutcome(options, result, () => printSummary(result));
  } finally {
    await opened.close();
  }
}

type PathRequest = Exclude<BackupRequest, { kind: 'machines' }>;

/** Fails with `usage`. */
export function backupRequestOf(path: string, options: BackupCommandOptions): PathRequest {
  const { item, format, exclude, oneFileSystem, parent, verify } = options;
  const shared = { item, tags: parseTags(options.tag), readsBack: verify };
  if (format !== undefined && !options.disk) {
    throw new CofferError('usage', { reason: '--format is for --disk' });
  }
  const named = isNbdUri(path) ? path : absolutePath(path);
  const request = options.disk
    ? parseRequest(BackupRequest, { kind: 'disk', ...shared, source: named, format })
    : parseRequest(BackupRequest, {
        kind: 'files',
        ...shared,
        path: named,
        parent,
        exclude,
        oneFileSystem,
      });
  assert(request.kind !== 'machines', 'a request is of the kind that was asked for');
  return request;
}

interface OpenedSource {
  /** As it was named. */
  readonly path: string;
  source(repository: Repository): BackupSource | Promise<BackupSource>;
  close(): Promise<void>;
}

async function openSource(request: PathRequest): Promise<OpenedSource> {
  if (request.kind === 'files') {
    const { path } = request;
    const real = realPath(path);
    const source = (repository: Repository): Promise<FilesSource> =>
      filesSource(repository, { ...request, path: real });
    return { path, source, close: async () => {} };
  }
  const { source: path, format } = request;
  const real = isNbdUri(path) ? path : realPath(path);
  const disk = await openDiskSource(commandRun, real, { format, tlsOf: tlsOfAddress });
  return { path, source: () => ({ kind: 'disk', path, disk }), close: () => disk.close() };
}

async function filesSource(
  repository: Repository,
  { parent, ...request }: BackupRequestOf<'files'>,
): Promise<FilesSource> {
  return { ...request, parent: await chooseParent(repository, parent) };
}

/** A link that the user names means what it leads to; links inside are protected as links. */
function realPath(path: string): string {
  try {
    return textOfBytes(realpathSync.native(bytesOfText(path), { encoding: 'buffer' }));
  } catch (error) {
    const reason = systemErrorCode(error);
    // No call tells so long a path; it is opened a piece at a time.
    if (reason === 'ENAMETOOLONG') return path;
    const code = reason === 'ENOENT' ? 'source-not-found' : 'source-unreadable';
    throw new CofferError(code, { path, reason }, error);
  }
}

async function chooseParent(
  repository: Repository,
  parent: string,
): Promise<FilesSource['parent']> {
  return parent === 'none' || parent === 'latest' ? parent : await namedPoint(repository, parent);
}

function printSummary(result: BackupResult): void {
  const { point, item, bytesSource, bytesRead, bytesStored, durationMs } = result;
  printLine(`Made point ${point} of ${item} in ${formatDuration(durationMs)}`);
  const source = `source ${formatBytes(bytesSource)}`;
  printLine(`${source}, read ${formatBytes(bytesRead)}, stored ${formatBytes(bytesStored)}`);
}
