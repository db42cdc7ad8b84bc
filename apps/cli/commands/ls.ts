/** `coffer ls`. */
import { CofferError, type FileMetadata, type FileType } from '@coffer/base';
import type { Volume } from '@coffer/file-system/volumes/volumes.ts';
import { openBrowsed } from '@coffer/flows/browse/browsed.ts';
import { listPath } from '@coffer/flows/browse/list.ts';
import { volumesOfPoint } from '@coffer/flows/browse/point-volumes.ts';
import { diskOf, disksOf } from '@coffer/flows/point-disks.ts';
import type { PointRoot, RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import { entryDocument } from '../entry-document.ts';
import {
  formatBytes,
  formatTime,
  LinePrinter,
  printJson,
  printLine,
  printTable,
} from '../output.ts';
import { unlockingVolume, volumePassphrase } from '../passphrase.ts';
import { type PointPath, splitPointPath } from '../point-path.ts';
import { printable } from '../printable.ts';
import { namedPoint, withUnlocked } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

export interface LsCommandOptions extends GlobalOptions {
  readonly recursive?: boolean;
  readonly volumePassphraseFile?: string;
}

export async function runLs(source: string, options: LsCommandOptions): Promise<void> {
  const { name, ...place } = splitPointPath(source);
  await withUnlocked(options, async (repository) => {
    const point = await namedPoint(repository, name);
    if (point.kind === 'files' || place.volume !== undefined) {
      await listFiles(repository, point, place, options);
    } else if (place.path !== '') {
      throw new CofferError('path-not-found', {
        path: place.path,
        reason: 'files are on volumes: POINT/DISK/VOLUME:PATH',
      });
    } else if (place.disk === undefined) listDisks(point, options);
    else await listVolumes(repository, point, diskOf(point, place.disk), options);
  });
}

async function listFiles(
  repository: UnlockedRepository,
  point: RecoveryPoint,
  place: Omit<PointPath, 'name'>,
  options: LsCommandOptions,
): Promise<void> {
  const fileSystem = await unlockingVolume(options, (passphrase) =>
    openBrowsed(repository, point, { ...place, passphrase }),
  );
  const recursive = options.recursive ?? false;
  const documents: unknown[] = [];
  const lines = new LinePrinter();
  for await (const { node, relative } of listPath(fileSystem, { path: place.path, recursive })) {
    if (options.json) documents.push(entryDocument(node, relative));
    else lines.add(longLine(node, recursive ? relative : node.name));
  }
  if (options.json) printJson(documents);
  lines.flush();
  await fileSystem.close();
}

function listDisks(point: RecoveryPoint, options: GlobalOptions): void {
  const disks = disksOf(point).map(({ name, sizeBytes }) => ({
    path: name,
    // Files of the host that a machine needs are kept beside its disks.
    type: point.kind === 'vm' && name.startsWith('file-') ? 'file' : 'disk',
    sizeBytes,
  }));
  if (options.json) printJson(disks);
  else for (const { path, sizeBytes } of disks) printLine(`${path} ${sizeBytes}`);
}

async function listVolumes(
  repository: UnlockedRepository,
  point: RecoveryPoint,
  disk: PointRoot,
  options: LsCommandOptions,
): Promise<void> {
  const passphrase = volumePassphrase(options);
  const all = await volumesOfPoint(repository, point, { passphrase });
  const volumes = all.filter((each) => each.disk.name === disk.name).map(({ volume }) => volume);
  if (options.json) {
    printJson(volumes.map(volumeDocument));
    return;
  }
  const rows = volumes.map(({ name, kind, label, sizeBytes, problem }) => [
    name,
    kind,
    printable(label ?? ''),
    formatBytes(sizeBytes),
    problem?.message ?? '',
  ]);
  await printTable(['volume', 'file system', 'label', 'size', ''], rows);
}

function volumeDocument(volume: Volume): Record<string, unknown> {
  const { name, kind, label, uuid, partitionName, offset, sizeBytes, problem } = volume;
  const found = { path: name, type: 'volume', fileSystem: kind, sizeBytes };
  return { ...found, label, uuid, partitionName, offset, problem: problem?.message };
}

/** As `ls -l` does; owners by number, since names are those of another machine. */
function longLine(entry: FileMetadata, name: Buffer): string {
  const { userId, groupId, sizeBytes, modifiedNs, linkTarget } = entry;
  const columns = [
    modeText(entry.type, entry.mode),
    String(userId).padStart(5),
    String(groupId).padStart(5),
    String(sizeBytes).padStart(12),
    formatTime(Number(modifiedNs / 1_000_000n)),
    printable(name.toString('utf8')),
  ];
  const target = linkTarget ? ` -> ${printable(linkTarget.toString('utf8'))}` : '';
  return columns.join(' ') + target;
}

const TYPE_LETTERS: Readonly<Record<FileType, string>> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  fifo: 'p',
  socket: 's',
  'character-device': 'c',
  'block-device': 'b',
};

/** Type and permissions in ten letters. */
export function modeText(type: FileType, mode: number): string {
  const classes = [
    { shift: 6, special: 0o4000, letters: ['s', 'S'] },
    { shift: 3, special: 0o2000, letters: ['s', 'S'] },
    { shift: 0, special: 0o1000, letters: ['t', 'T'] },
  ] as const;
  const permissions = classes.map(({ shift, special, letters }) => {
    const bits = mode >> shift;
    const runs = (bits & 1) !== 0;
    const run = mode & special ? letters[runs ? 0 : 1] : runs ? 'x' : '-';
    return `${bits & 4 ? 'r' : '-'}${bits & 2 ? 'w' : '-'}${run}`;
  });
  return TYPE_LETTERS[type] + permissions.join('');
}
