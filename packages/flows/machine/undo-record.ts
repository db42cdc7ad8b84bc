/**
 * What a restore over an original has replaced, so that it can be undone or accepted. The record is
 * written before anything is changed, and goes when nothing is left to undo.
 */
import { readFileSync, renameSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { RecordFolder, syncFolder } from '../record-folder.ts';

const Replacement = v.variant('kind', [
  /** A new file took the name of an old one, which is beside it. */
  v.object({
    kind: v.literal('moved'),
    path: v.string(),
    newPath: v.string(),
    oldPath: v.string(),
    /** There was none: nothing comes back. */
    isNew: v.boolean(),
    isDisk: v.boolean(),
  }),
  /** What differed was written in place; what was there is in a file of its own. */
  v.object({
    kind: v.literal('kept'),
    path: v.string(),
    format: v.picklist(['raw', 'qcow2']),
    keptPath: v.string(),
    /** Of the image when the restore had ended: what is kept brings back the old state of this one. */
    stamp: v.optional(v.string()),
  }),
]);

const UndoRecord = v.object({
  vm: v.string(),
  uuid: v.string(),
  point: v.string(),
  /** URI of libvirt. */
  connect: v.string(),
  startedAt: v.number(),
  /** `under-way` is what a crash leaves: it can be undone only; `accepted` can be undone no more. */
  state: v.picklist(['under-way', 'done', 'accepted']),
  replacements: v.array(Replacement),
});

/** Among the counters of a block device. */
const SECTORS_WRITTEN = 6;
const SECTORS_DISCARDED = 13;

export type Replacement = v.InferOutput<typeof Replacement>;
export type MovedReplacement = Extract<Replacement, { kind: 'moved' }>;
export type KeptReplacement = Extract<Replacement, { kind: 'kept' }>;
export type UndoRecord = v.InferOutput<typeof UndoRecord>;
export type UndoRecords = RecordFolder<UndoRecord>;

export function undoRecordsIn(folder: string): UndoRecords {
  return new RecordFolder(folder, UndoRecord);
}

/** For blocks that are kept of a device, beside which there is no place for a file. */
export function keptPathOf({ path }: UndoRecords, uuid: string, disk: string): string {
  return join(path, `${uuid}-${disk}.kept`);
}

/** Changes with whatever is written to the image; undefined where that cannot be told. */
export function stampOf({ path }: Pick<KeptReplacement, 'path'>): string | undefined {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  if (!stats) return undefined;
  return stats.isFile() ? `${stats.size} ${stats.mtimeNs}` : stampOfDevice(stats.rdev);
}

/**
 * How much was written to a device since the host was started, by whatever name: the times of a node
 * tell nothing of that (Documentation/block/stat.rst of Linux).
 */
function stampOfDevice(device: bigint): string | undefined {
  // makedev(3): both numbers are in two parts.
  const major = (device >> 8n) & 0xfffn;
  const minor = (device & 0xffn) | ((device >> 12n) & 0xf_ff00n);
  try {
    const counters = readFileSync(`/sys/dev/block/${major}:${minor}/stat`, 'utf8');
    const fields = counters.trim().split(/\s+/);
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${bootId} ${fields[SECTORS_WRITTEN]} ${fields[SECTORS_DISCARDED] ?? 0}`;
  } catch {
    return undefined;
  }
}

/** Of the old state. */
export function oldPathOf(replacement: Replacement): string {
  return replacement.kind === 'moved' ? replacement.oldPath : replacement.keptPath;
}

/** Puts the new file into the place of the old one, which is kept. */
export function move({ path, newPath, oldPath, isNew }: MovedReplacement): void {
  if (!isNew) renameSync(path, oldPath);
  renameSync(newPath, path);
  syncFolder(dirname(path));
}
