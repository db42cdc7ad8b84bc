/** `coffer cat`. */
import { type ContentPiece, CofferError } from '@coffer/base';
import { diskPieces, readContent } from '@coffer/flows/browse/content.ts';
import { findPath } from '@coffer/flows/point-path.ts';
import { type ChunkReader, contentPieces, type RecoveryPoint } from '@coffer/repository';
import { splitPointPath } from '../point-path.ts';
import { interruptSignal } from '../run.ts';
import { namedPoint, withRepository } from '../session.ts';
import type { GlobalOptions } from '../settings.ts';
import { DISK_NAME } from './ls.ts';

export async function runCat(source: string, options: GlobalOptions): Promise<void> {
  if (options.json) throw new CofferError('usage', { reason: 'cat prints bytes, not JSON' });
  const { name, path } = splitPointPath(source);
  await withRepository(options, 'required', async (repository) => {
    const point = await namedPoint(repository, name);
    const reader = repository.reader(interruptSignal);
    const pieces = await piecesAt(reader, point, path);
    for await (const bytes of readContent({ reader, work: repository.work, pieces })) {
      interruptSignal.throwIfAborted();
      await writeOut(bytes);
    }
  });
}

async function piecesAt(
  reader: ChunkReader,
  point: RecoveryPoint,
  path: string,
): Promise<AsyncIterable<ContentPiece>> {
  if (point.kind === 'disk') return diskAt(reader, point, path);
  const found = await findPath(reader, point, path);
  const type = found.form === 'root' ? 'directory' : found.entry.type;
  if (found.form === 'root' || !found.entry.content) {
    throw new CofferError('path-not-found', { path, reason: `it is no file but a ${type}` });
  }
  return contentPieces(reader, found.entry.content);
}

function diskAt(
  reader: ChunkReader,
  point: RecoveryPoint,
  path: string,
): AsyncIterable<ContentPiece> {
  const [root] = point.roots;
  if (path !== DISK_NAME || !root) throw new CofferError('path-not-found', { path });
  return diskPieces(reader, { root: Buffer.from(root.root, 'hex'), sizeBytes: root.sizeBytes });
}

/** Waits until the reader took the bytes: it sets the pace. */
async function writeOut(bytes: Buffer): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    process.stdout.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}
