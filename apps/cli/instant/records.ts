/** Where the records of machines lie that run on points, and what belongs to them. */
import { join } from 'node:path';
import { CofferError } from '@coffer/base';
import {
  type InstantRecord,
  type InstantRecords,
  instantRecordsIn,
} from '@coffer/flows/machine/instant-record.ts';
import { vmNameOf } from '../libvirt/vm-name.ts';
import { stateFolder } from '../settings.ts';

/** Paths of sockets must be short. */
const RUN_FOLDER = '/var/tmp/coffer-instant-';
const UUID_LENGTH = 8;

export function instantRecords(): InstantRecords {
  return instantRecordsIn(join(stateFolder(), 'instant'));
}

/** Of the process that serves the disks. */
export function runFolderOf({ uuid }: Pick<InstantRecord, 'uuid'>): string {
  return RUN_FOLDER + uuid.slice(0, UUID_LENGTH);
}

/** Fails with `vm-not-found`, and as `findRecordNamed` does. */
export async function instantRecordOf(name: string): Promise<InstantRecord> {
  // The process that keeps a machine needs none of it, and has to start quickly.
  const { findRecordNamed } = await import('@coffer/flows/machine/named-record.ts');
  const { uuidOfMachine } = await import('../libvirt/compose.ts');
  const vm = vmNameOf(name);
  const found = await findRecordNamed(instantRecords().list(), vm, uuidOfMachine);
  if (found) return found;
  throw new CofferError('vm-not-found', { vm, reason: 'it does not run on a point' });
}
