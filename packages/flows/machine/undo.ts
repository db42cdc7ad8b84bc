/**
 * What becomes of a restore over an original: the old state comes back, or the new one stays. One
 * command at a time decides, by the record.
 */
import { existsSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { CofferError, type RunContext, tellPhase } from '@coffer/base';
import type { WritableDisk } from '@coffer/disk/disk.ts';
import { openWritableImage } from '@coffer/disk/image.ts';
import { bringBack } from '@coffer/disk/overlay/keeping.ts';
import type { KnownVm, VmHost } from '@coffer/workloads/vm-host.ts';
import { syncFolder } from '../record-folder.ts';
import { partialPathOf } from '../restore/disk/disk-target.ts';
import {
  type KeptReplacement,
  type MovedReplacement,
  oldPathOf,
  type Replacement,
  stampOf,
  type UndoRecord,
  type UndoRecords,
} from './undo-record.ts';

export interface UndoOptions {
  readonly host: VmHost;
  readonly records: UndoRecords;
}

/**
 * Brings the old state back; the machine is off afterwards, where that had gone. Can be repeated. Fails
 * with `undo-missing`, also when the new state was accepted, and with `undo-too-late`.
 */
export async function undoOriginal(
  run: RunContext,
  options: UndoOptions,
  { uuid, vm }: Pick<UndoRecord, 'uuid' | 'vm'>,
): Promise<void> {
  using _alone = options.records.lock(uuid);
  const record = options.records.read(uuid);
  if (!record || record.state === 'accepted') throw new CofferError('undo-missing', { vm });
  await undo(run, options, record);
}

/** Of who has the lock. */
export async function undo(
  run: RunContext,
  { host, records }: UndoOptions,
  record: UndoRecord,
): Promise<void> {
  const known = await host.find(record.uuid);
  if (record.state === 'done') refuseTooLate(record, known);
  const changed = record.replacements.filter(hasHappened);
  // While new images were made only, the machine has run on, and goes on.
  if (known && changed.length > 0) {
    refuseSaved(known);
    tellPhase(run, 'stop-guest', record.vm);
    await host.stop(run, record.uuid);
  }
  tellPhase(run, 'put-back', record.vm);
  // From now on images are written to, which is not too late to go on with this.
  records.write({ ...record, state: 'under-way' });
  for (const replacement of record.replacements) {
    if (replacement.kind === 'moved') moveBack(replacement);
    else if (existsSync(replacement.keptPath)) await writeBack(run, replacement);
  }
  // What was kept goes first: without a record nobody would know of it.
  for (const replacement of record.replacements) {
    if (replacement.kind === 'kept') rmSync(replacement.keptPath, { force: true });
  }
  if (known && changed.some(isOtherImage)) await host.forgetTracking(record.uuid);
  records.remove(record.uuid);
}

/** Fails with `undo-too-late`: the old state and the new one would be mixed. */
function refuseTooLate({ vm, replacements }: UndoRecord, known: KnownVm | undefined): void {
  for (const replacement of replacements) {
    if (replacement.kind !== 'kept') continue;
    const { path, stamp } = replacement;
    const isRunning = known !== undefined && !known.isOff;
    if (isRunning || stamp === undefined || stampOf(replacement) !== stamp) {
      throw new CofferError('undo-too-late', { vm, path });
    }
  }
}

/** False as long as the old state is in its place. */
function hasHappened(replacement: Replacement): boolean {
  if (replacement.kind === 'kept') return existsSync(replacement.keptPath);
  const { isNew, path, oldPath } = replacement;
  return existsSync(isNew ? path : oldPath);
}

function moveBack({ path, newPath, oldPath, isNew }: MovedReplacement): void {
  if (existsSync(oldPath)) renameSync(oldPath, path);
  else if (isNew && !existsSync(newPath)) rmSync(path, { force: true });
  for (const left of [newPath, partialPathOf(newPath)]) rmSync(left, { force: true });
  syncFolder(dirname(path));
}

async function writeBack(run: RunContext, replacement: KeptReplacement): Promise<void> {
  const target = await openImage(run, replacement);
  await bringBack({ target, ...keptIn(replacement) });
}

/**
 * The new state stays: what was kept of the old one goes. Fails with `undo-missing`, and with
 * `undo-pending` when the restore did not come to its end.
 */
export function acceptOriginal(
  records: UndoRecords,
  { uuid, vm }: Pick<UndoRecord, 'uuid' | 'vm'>,
): void {
  using _alone = records.lock(uuid);
  const record = records.read(uuid);
  if (!record) throw new CofferError('undo-missing', { vm });
  accept(records, record);
}

/**
 * Of a machine all of whose disks were changed in place, and that runs, the old state cannot come back,
 * and nothing of it is kept. False otherwise: old images of some disks are of use to people.
 */
export function acceptStarted(records: UndoRecords, uuid: string): boolean {
  using _alone = records.lock(uuid);
  const record = records.read(uuid);
  if (!record?.replacements.some(({ kind }) => kind === 'kept')) return false;
  if (record.replacements.some(isOtherImage)) return false;
  accept(records, record);
  return true;
}

/** Of who has the lock. */
export function accept(records: UndoRecords, record: UndoRecord): void {
  const { uuid, vm, replacements, state } = record;
  if (state === 'under-way') {
    throw new CofferError('undo-pending', { vm, reason: 'the restore was interrupted: undo it' });
  }
  // From now on there may be too little left to undo.
  records.write({ ...record, state: 'accepted' });
  for (const replacement of replacements) rmSync(oldPathOf(replacement), { force: true });
  records.remove(uuid);
}

/** Its memory would go on with other disks than it knows. */
export function refuseSaved({ name, isSaved }: KnownVm): void {
  if (isSaved) throw new CofferError('vm-saved', { vm: name });
}

export function isOtherImage(replacement: Replacement): boolean {
  return replacement.kind === 'moved' && replacement.isDisk;
}

export async function openImage(
  { clock, random }: RunContext,
  { path, format }: KeptReplacement,
): Promise<WritableDisk> {
  return await openWritableImage(path, { format, clock, random });
}

export function keptIn({ keptPath, path }: KeptReplacement): { path: string; base: string } {
  return { path: keptPath, base: path };
}
