/** What a point of a virtual machine holds, and how much of it there is to restore. */
import { CofferError, mapBounded } from '@coffer/base';
import {
  diskLeaves,
  GEOMETRY,
  isZeroId,
  type PointRoot,
  type RecoveryPoint,
  type UnlockedRepository,
} from '@coffer/repository';
import { parseManifest, type VmManifest } from '../manifest.ts';

const CHUNK_SIZE_BYTES = GEOMETRY.diskChunkSizeBytes;
const ROOTS_AT_ONCE = 4;

/** Fails with `kind-mismatch` when the point is of something else. */
export function vmOf(repository: UnlockedRepository, point: RecoveryPoint): VmManifest {
  const { vm } = parseManifest(repository.openManifest(point));
  if (vm) return vm;
  throw new CofferError('kind-mismatch', { point: point.id, kind: point.kind, needs: 'vm' });
}

/** Bytes that are not zero, to the chunk: what images of the roots take without compression. */
export async function dataBytesOf(
  repository: UnlockedRepository,
  roots: readonly PointRoot[],
): Promise<number> {
  const reader = repository.reader();
  const sizes = await mapBounded(roots, ROOTS_AT_ONCE, async ({ root, sizeBytes }) => {
    let chunkCount = 0;
    for await (const { ids = [] } of diskLeaves(reader, {
      root: Buffer.from(root, 'hex'),
      sizeBytes,
    })) {
      chunkCount += ids.filter((id) => !isZeroId(id)).length;
    }
    return Math.min(chunkCount * CHUNK_SIZE_BYTES, sizeBytes);
  });
  return sizes.reduce((sum, size) => sum + size, 0);
}
