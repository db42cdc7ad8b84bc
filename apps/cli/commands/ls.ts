/** `coffer ls`. */
import type { FileEntry, FileType } from '@coffer/base';
import { listPath } from '@coffer/flows/browse/list.ts';
import { CofferError } from '@coffer/base';
import type { RecoveryPoint } from '@coffer/repository';
import { entryDocument } from '../entry-document.ts';
import { formatTime, LinePrinter, printJson } from '../output.ts';
import { splitPointPath } from '../point-path.ts';
import { printable } from '../printable.ts';
import { interruptSignal } from '../run.ts';
import { namedPoint, withRepository } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

export interface LsCommandOptions extends GlobalOptions {
  readonly recursive?: boolean;
}

/** The name under which the disk of a point is listed and read. */
export const DISK_NAME = 'disk';

export async function runLs(source: string, options: LsCommandOptions): Promise<void> {
  const { name, path } = splitPointPath(source);
  await withRepository(options, 'required', async (repository) => {
    const point = await namedPoint(repository, name);
    if (point.kind === 'disk') {
      listDisk(point, path, options);
      return;
    }
    const recursive = options.recursive ?? false;
    const entries = listPath(repository.reader(interruptSignal), { point, path, recursive });
    const documents: unknown[] = [];
    const lines = new LinePrinter();
    for await (const { entry, relative } of entries) {
      if (options.json) documents.push(entryDocument(entry, relative));
      else lines.add(longLine(entry, recursive ? relative : entry.name));
    }
    if (options.json) printJson(documents);
    lines.flush();
  });
}

function listDisk(point: RecoveryPoint, path: string, options: GlobalOptions): void {
  if (path !== '' && path !== DISK_NAME) throw new CofferError('path-not-found', { path });
  const disks = point.roots.map(({ sizeBytes }) => ({ path: DISK_NAME, type: 'disk', sizeBytes }));
  if (options.json) printJson(disks);
  else for (const { sizeBytes } of disks) process.stdout.write(`${DISK_NAME} ${sizeBytes}\n`);
}

/** As `ls -l` does; owners by number, since names are those of another machine. */
function longLine(entry: FileEntry, name: Buffer): string {
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
