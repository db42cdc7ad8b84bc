/** Where the records of restores lie that can be undone. */
import { join } from 'node:path';
import { type UndoRecords, undoRecordsIn } from '@coffer/flows/machine/undo-record.ts';
import { stateFolder } from './settings.ts';

export function undoRecords(): UndoRecords {
  return undoRecordsIn(join(stateFolder(), 'undo'));
}
