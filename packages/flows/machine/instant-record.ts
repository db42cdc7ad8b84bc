/** What is remembered of a machine that runs on a point. It is read by a process that has to be quick. */
import { join } from 'node:path';
import * as v from 'valibot';
import { RecordFolder } from '../record-folder.ts';

const InstantRecord = v.object({
  vm: v.string(),
  uuid: v.string(),
  point: v.string(),
  repository: v.string(),
  /** URI of libvirt. */
  connect: v.string(),
  /** Of the process that serves the disks. */
  runFolder: v.string(),
  disks: v.array(v.object({ name: v.string(), overlay: v.string(), image: v.string() })),
  /** Of the machine, besides its disks. */
  files: v.array(v.string()),
});

export type InstantRecord = v.InferOutput<typeof InstantRecord>;
export type InstantRecords = RecordFolder<InstantRecord>;

export function instantRecordsIn(folder: string): InstantRecords {
  return new RecordFolder(folder, InstantRecord);
}

/** The holder of the hold that the machine's point has for it; machines of other hosts have theirs. */
export function holderOf({ uuid }: Pick<InstantRecord, 'uuid'>): string {
  return `instant-${uuid.toLowerCase()}`;
}

export function socketPathOf({ runFolder }: Pick<InstantRecord, 'runFolder'>): string {
  return join(runFolder, 'nbd');
}
