/** The structures of NTFS, and what is wrong with them. */
import { CofferError } from '@coffer/base';
import { fieldsOf } from '../fields.ts';

export const Fields = fieldsOf({ fileSystem: 'ntfs', byteOrder: 'little' });
export type Fields = InstanceType<typeof Fields>;

export function damaged(structure: string, offset: number, reason: string): CofferError {
  return new CofferError('file-system-damaged', {
    fileSystem: 'ntfs',
    structure,
    offset,
    reason,
  });
}

export function unsupported(reason: string, recordNumber?: number): CofferError {
  return new CofferError('file-system-unsupported', { fileSystem: 'ntfs', reason, recordNumber });
}
