/** The structures of XFS, and what is wrong with them. */
import { CofferError } from '@coffer/base';
import { fieldsOf } from '../fields.ts';

export const Fields = fieldsOf({ fileSystem: 'xfs', byteOrder: 'big' });
export type Fields = InstanceType<typeof Fields>;

export function damaged(structure: string, offset: number, reason: string): CofferError {
  return new CofferError('file-system-damaged', {
    fileSystem: 'xfs',
    structure,
    offset,
    reason,
  });
}

export function unsupported(reason: string, inode?: bigint): CofferError {
  const details = { fileSystem: 'xfs', reason, inode: inode?.toString() };
  return new CofferError('file-system-unsupported', details);
}
