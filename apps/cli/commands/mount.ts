/** `coffer mount`: a point as a folder, read-only, until it is unmounted or interrupted. */
import { resolve } from 'node:path';
import type { FileSystem } from '@coffer/file-system/file-system.ts';
import { diskFolder } from '@coffer/file-system/fuse/disk-folder.ts';
import { mountFileSystem } from '@coffer/file-system/fuse/mount.ts';
import { type BrowsedPlace, openBrowsed } from '@coffer/flows/browse/browsed.ts';
import { diskOf, disksOf, openPointDisk } from '@coffer/flows/point-disks.ts';
import type { RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import { printJson, printLine } from '../output.ts';
import { unlockingVolume } from '../passphrase.ts';
import { splitPointPath } from '../point-path.ts';
import { printable } from '../printable.ts';
import { interruptSignal } from '../run.ts';
import { namedPoint, withUnlocked } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

export interface MountCommandOptions extends GlobalOptions {
  readonly allowOther?: boolean;
  readonly volumePassphraseFile?: string;
}

export async function runMount(
  source: string,
  folder: string,
  options: MountCommandOptions,
): Promise<void> {
  const { name, ...place } = splitPointPath(source);
  await withUnlocked(options, async (repository) => {
    const point = await namedPoint(repository, name);
    const fileSystem = await unlockingVolume(options, (passphrase) =>
      openMounted(repository, point, { ...place, passphrase }),
    );
    try {
      const mount = await mountFileSystem(fileSystem, resolve(folder), {
        name: `coffer:${point.id}`,
        signal: interruptSignal,
        allowOther: options.allowOther ?? false,
        onError: (error) => {
          const message = error instanceof Error ? error.message : String(error);
          process.stderr.write(`coffer: ${printable(message)}\n`);
        },
      });
      const document = { point: point.id, folder: mount.folder };
      if (options.json) printJson(document);
      else if (!options.quiet) {
        printLine(`Mounted point ${point.id} of ${point.item} on ${mount.folder}`);
        printLine(`Press Ctrl-C, or run \`fusermount3 -u ${mount.folder}\`, to unmount.`);
      }
      await mount.ended;
    } finally {
      await fileSystem.close();
    }
  });
}

/** Files as they are; disks as raw files, unless a volume is named. */
async function openMounted(
  repository: UnlockedRepository,
  point: RecoveryPoint,
  { disk, volume, passphrase }: BrowsedPlace,
): Promise<FileSystem> {
  if (point.kind === 'files' || volume !== undefined) {
    return await openBrowsed(repository, point, { disk, volume, passphrase });
  }
  const roots = disk === undefined ? disksOf(point) : [diskOf(point, disk)];
  const disks = roots.map((root) => ({
    name: root.name,
    disk: openPointDisk(repository, root),
  }));
  return diskFolder(disks);
}
