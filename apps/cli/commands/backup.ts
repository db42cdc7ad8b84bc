/** `coffer backup`. */
import { realpathSync } from 'node:fs';
import { hostname } from 'node:os';
import { CofferError, systemErrorCode } from '@coffer/base';
import { bytesOfText, shownText, textOfBytes } from '@coffer/base/path-text.ts';
import type { Disk } from '@coffer/disk/disk.ts';
import { openImage } from '@coffer/disk/image.ts';
import type { ImageFormat } from '@coffer/disk/image-format.ts';
import { isNbdUri, parseNbdUri } from '@coffer/disk/nbd/address.ts';
import { openNbdDisk } from '@coffer/disk/nbd/nbd-disk.ts';
import {
  backup,
  type BackupResult,
  type BackupSource,
  type FilesSource,
} from '@coffer/flows/backup/backup.ts';
import { checkPointLabels, type RecoveryPoint, type Repository } from '@coffer/repository';
import { absolutePath } from '../arguments.ts';
import { clock, random } from '../compose.ts';
import { parseImageFormat } from '../image-choice.ts';
import { tlsOfAddress } from '../nbd-tls.ts';
import { formatBytes, formatDuration, printLine, printOutcome } from '../output.ts';
import { withBar } from '../progress.ts';
import { namedPoint, withUnlocked } from '../session.ts';
import { isVmName } from '../libvirt/vm-name.ts';
import { parseTags } from '../tags.ts';
import { runBackupVms, type VmBackupCommandOptions } from './backup-vm.ts';
import { ensureEmbeddedRepository } from './init.ts';

const NBD_CONNECT_TIMEOUT_MS = 15_000;
const NBD_REQUEST_TIMEOUT_MS = 60_000;
const NBD_RECONNECT_TIMEOUT_MS = 30_000;

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
    await runBackupVms(paths, options);
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
  const tags = parseTags(options.tag);
  // Opened first: who has nothing to back up needs no repository, either.
  const opened = await openSource(path, options);
  const item = options.item ?? opened.item;
  try {
    checkPointLabels({ item, tags });
    await ensureEmbeddedRepository(options);
    const result = await withUnlocked(options, async (repository) => {
      const source = await opened.source(repository);
      return await withBar(options, (run) =>
        backup(run, { repository, source, item, tags, readsBack: options.verify }),
      );
    });
    printOutcome(options, result, () => printSummary(result));
  } finally {
    await opened.close();
  }
}

interface OpenedSource {
  /** Its name where the user gives none. */
  readonly item: string;
  source(repository: Repository): BackupSource | Promise<BackupSource>;
  close(): Promise<void>;
}

async function openSource(path: string, options: BackupCommandOptions): Promise<OpenedSource> {
  const format = parseImageFormat(options.format);
  if (format !== undefined && !options.disk) {
    throw new CofferError('usage', { reason: '--format is for --disk' });
  }
  const named = isNbdUri(path) ? path : absolutePath(path);
  const item = `${hostname()}:${shownText(named)}`;
  const source = isNbdUri(path) ? path : realPath(named);
  if (!options.disk) {
    const files = (repository: Repository): Promise<FilesSource> =>
      filesSource(repository, source, options);
    return { item, source: files, close: async () => {} };
  }
  const disk = await openSourceDisk(source, format);
  return {
    item,
    source: () => ({ kind: 'disk', path: named, disk }),
    close: () => disk.close(),
  };
}

async function filesSource(
  repository: Repository,
  path: string,
  options: BackupCommandOptions,
): Promise<FilesSource> {
  const parent = await chooseParent(repository, options.parent);
  const oneFileSystem = options.oneFileSystem ?? false;
  return { kind: 'files', path, parent, exclude: options.exclude, oneFileSystem };
}

/** An image, a block device, or an export of an NBD server. */
async function openSourceDisk(source: string, format: ImageFormat | undefined): Promise<Disk> {
  if (!isNbdUri(source)) return await openImage(source, { format, clock, random });
  const address = parseNbdUri(source);
  return await openNbdDisk({
    address,
    tls: tlsOfAddress(address),
    writable: false,
    connectTimeoutMs: NBD_CONNECT_TIMEOUT_MS,
    requestTimeoutMs: NBD_REQUEST_TIMEOUT_MS,
    reconnectTimeoutMs: NBD_RECONNECT_TIMEOUT_MS,
    clock,
  });
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
  parent: string | undefined,
): Promise<RecoveryPoint | 'latest' | 'none'> {
  if (parent === undefined) return 'latest';
  return parent === 'none' ? 'none' : await namedPoint(repository, parent);
}

function printSummary(result: BackupResult): void {
  const { point, item, bytesSource, bytesRead, bytesStored, durationMs } = result;
  printLine(`Made point ${point} of ${item} in ${formatDuration(durationMs)}`);
  const source = `source ${formatBytes(bytesSource)}`;
  printLine(`${source}, read ${formatBytes(bytesRead)}, stored ${formatBytes(bytesStored)}`);
}
