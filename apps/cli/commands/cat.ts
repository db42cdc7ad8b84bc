/** `coffer cat`. */
import { CofferError, type FileMetadata } from '@coffer/base';
import type { FileSystem } from '@coffer/file-system/file-system.ts';
import { type BrowsedPlace, openBrowsed } from '@coffer/flows/browse/browsed.ts';
import { diskPieces, readContent } from '@coffer/flows/browse/content.ts';
import { findNode } from '@coffer/flows/browse/list.ts';
import { PointFiles } from '@coffer/flows/browse/point-files.ts';
import { readFile } from '@coffer/flows/browse/read-file.ts';
import { diskOf } from '@coffer/flows/point-disks.ts';
import { contentPieces, type RecoveryPoint, type UnlockedRepository } from '@coffer/repository';
import { unlockingVolume } from '../passphrase.ts';
import { type PointPath, splitPointPath } from '../point-path.ts';
import { interruptSignal } from '../run.ts';
import { namedPoint, withUnlocked } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';

export interface CatCommandOptions extends GlobalOptions {
  readonly volumePassphraseFile?: string;
}

export async function runCat(source: string, options: CatCommandOptions): Promise<void> {
  if (options.json) throw new CofferError('usage', { reason: 'cat prints bytes, not JSON' });
  const { name, ...place } = splitPointPath(source);
  await withUnlocked(options, async (repository) => {
    const point = await namedPoint(repository, name);
    const content = await unlockingVolume(options, (passphrase) =>
      bytesAt(repository, point, { ...place, passphrase }),
    );
    for await (const bytes of content) {
      interruptSignal.throwIfAborted();
      await writeOut(bytes);
    }
  });
}

async function bytesAt(
  repository: UnlockedRepository,
  point: RecoveryPoint,
  place: Omit<PointPath, 'name'> & BrowsedPlace,
): Promise<AsyncIterable<Buffer>> {
  const { work } = repository;
  const reader = repository.reader();
  if (point.kind !== 'files' && place.volume === undefined) {
    return readContent({ reader, work, pieces: diskPieces(reader, wholeDisk(point, place)) });
  }
  if (point.kind === 'files') {
    const files = new PointFiles(repository, point);
    const { content } = await findFile(files, place.path);
    return readContent({ reader, work, pieces: content ? contentPieces(reader, content) : [] });
  }
  const fileSystem = await openBrowsed(repository, point, place);
  return readFile(fileSystem, await findFile(fileSystem, place.path));
}

async function findFile<Node extends FileMetadata>(
  fileSystem: FileSystem<Node>,
  path: string,
): Promise<Node> {
  const { node } = await findNode(fileSystem, path);
  if (node.type === 'file') return node;
  throw new CofferError('path-not-found', { path, reason: `it is no file but a ${node.type}` });
}

function wholeDisk(
  point: RecoveryPoint,
  { disk, path }: Omit<PointPath, 'name'>,
): { root: Buffer; sizeBytes: number } {
  if (path !== '') {
    const reason = 'a disk is POINT/DISK, a file on it POINT/DISK/VOLUME:PATH';
    throw new CofferError('path-not-found', { path, reason });
  }
  const { root, sizeBytes } = diskOf(point, disk);
  return { root: Buffer.from(root, 'hex'), sizeBytes };
}

/** Waits until the reader took the bytes: it sets the pace. */
async function writeOut(bytes: Buffer): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    process.stdout.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}
