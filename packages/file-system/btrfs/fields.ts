/** The structures of btrfs, and what is wrong with them. */
import { CofferError } from '@coffer/base';
import { fieldsOf } from '../fields.ts';

export const Fields = fieldsOf({ fileSystem: 'btrfs', byteOrder: 'little' });
export type Fields = InstanceType<typeof Fields>;

export function damaged(structure: string, offset: number, reason: string): CofferError {
  return new CofferError('file-system-damaged', {
    fileSystem: 'btrfs',
    structure,
    offset,
    reason,
  });
}

export function unsupported(reason: string, offset?: number): CofferError {
  return new CofferError('file-system-unsupported', { fileSystem: 'btrfs', reason, offset });
}
