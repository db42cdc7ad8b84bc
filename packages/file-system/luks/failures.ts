/** How reading of a LUKS volume fails. */
import { CofferError } from '@coffer/base';

/** A structure, at an offset of the volume in bytes, is not what it has to be. */
export function damaged(structure: string, offset: number, reason: string): CofferError {
  return new CofferError('file-system-damaged', { structure, offset, reason });
}

/** The volume may be whole, and uses something that is not understood or costs too much. */
export function unsupported(reason: string, cause?: unknown): CofferError {
  return new CofferError('file-system-unsupported', { fileSystem: 'luks', reason }, cause);
}
