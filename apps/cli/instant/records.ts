/** Where the records of machines lie that run on points. */
import { join } from 'node:path';
import { CofferError } from '@coffer/base';
import {
  type InstantRecord,
  type InstantRecords,
  instantRecordsIn,
} from '@coffer/flows/restore/vm-instant.ts';
import { vmNameOf } from '../libvirt/compose.ts';
import { stateFolder } from '../settings.ts';

export function instantRecords(): InstantRecords {
  return instantRecordsIn(join(stateFolder(), 'instant'));
}

/** Fails with `vm-not-found`. */
export function instantRecordOf(name: string): InstantRecord {
  const wanted = vmNameOf(name);
  const found = instantRecords()
    .list()
    .find(({ vm, uuid }) => vm === wanted || uuid === wanted);
  if (found) return found;
  throw new CofferError('vm-not-found', { vm: wanted, reason: 'it does not run on a point' });
}
