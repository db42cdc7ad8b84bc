import { CofferError } from '@coffer/base';
import type { RecoveryPoint } from '@coffer/repository';

/** The node of the folder that a point of files is of. */
export function rootFolder(point: RecoveryPoint): Buffer {
  const root = point.roots[0];
  if (!root) throw new CofferError('object-damaged', { what: `point ${point.id}` });
  return Buffer.from(root.root, 'hex');
}
