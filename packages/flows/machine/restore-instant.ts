/**
 * Restore of a virtual machine that runs at once: on overlays over the disks of its point, which a
 * process of its own serves. Later the disks are moved to images of their own while it runs.
 */
import { existsSync, rmSync } from 'node:fs';
import {
  afterFailure,
  CofferError,
  type Finding,
  isCofferError,
  type RunContext,
  tellFinding,
  tellPhase,
  unstoppable,
} from '@coffer/base';
import type { RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import { refuseAppendOnly } from '@coffer/storage/object-store.ts';
import type { DiskImage, VmHost } from '@coffer/workloads/vm-host.ts';
import {
  holderOf,
  type InstantRecord,
  type InstantRecords,
  socketPathOf,
} from './instant-record.ts';
import type { DiskServers, DiskServing } from './disk-serving.ts';
import { MadeFolder } from './made-folder.ts';
import { createOverlays, planOverlays } from './served-disks.ts';
import type { VmRestoreResult } from './restore-as-new.ts';
import {
  fileMisfits,
  placesOf,
  planFiles,
  type PlannedFile,
  refuseMisfits,
  removeFiles,
  restoreFiles,
} from './machine-files.ts';
import { folderOf, type MachinePlace } from './machine-place.ts';
import { vmOf } from './machine-point.ts';

export interface RestoreInstantOptions {
  readonly repository: UnlockedRepository;
  readonly point: RecoveryPoint;
  readonly host: VmHost;
  readonly name: string;
  readonly uuid: string;
  /** What gets the overlays, and the images later. */
  readonly place: MachinePlace;
  readonly connect: string;
  readonly records: InstantRecords;
  /** Started for the machine; it is released when the machine runs. */
  readonly serving: DiskServing;
  /** Moves the disks to images of their own at once. */
  readonly migrate: boolean;
}

/** Fails with `kind-mismatch`, `vm-name-taken`, `target-unfit`. Nothing is left then. */
export async function restoreInstant(
  run: RunContext,
  given: RestoreInstantOptions,
): Promise<VmRestoreResult & { readonly folder: string; readonly migrated: boolean }> {
  const { host, place, serving, records, migrate } = given;
  await host.giveFiles([serving.runFolder]);
  const folder = await folderOf(host, place);
  const { runFolder } = serving;
  const restored = await runOnPoint(run, { ...given, folder, runFolder });
  serving.release();
  const record = records.read(restored.uuid);
  if (!migrate || !record) return { ...restored, folder, migrated: false };
  const releasePoint = async (last: RunContext): Promise<void> =>
    await given.repository.during(last).release(given.point, holderOf(record));
  const left = await migrateInstant(run, { host, records, releasePoint }, record);
  return { ...restored, folder, migrated: true, findings: [...restored.findings, ...left] };
}

interface OnPointOptions extends RestoreInstantOptions {
  readonly folder: string;
  readonly runFolder: string;
}

async function runOnPoint(run: RunContext, given: OnPointOptions): Promise<VmRestoreResult> {
  const options = { ...given, repository: given.repository.during(run) };
  const { repository, point, host, name, uuid, folder, records } = options;
  // The point is held meanwhile, and to be released.
  refuseAppendOnly(repository.store);
  const startedAt = run.clock.now();
  const vm = vmOf(repository, point);
  const overlays = planOverlays(vm, options);
  const planned = planFiles(vm, { name, uuid, folder, format: 'qcow2' });
  const files = planned.files.filter(({ oldPath }) => oldPath !== undefined);
  const misfits = await host.misfits({ xml: vm.xml, name, uuid });
  const all = [...planned.files, ...overlays.values()];
  const problems = fileMisfits(all, { folder, bytesNeeded: 0 });
  refuseMisfits(misfits, [...problems, ...(await host.folderProblems(folder))]);
  using folderMade = new MadeFolder(folder);
  const record = recordOf(options, overlays, planned.files);
  const releasePoint = async (last: RunContext): Promise<void> =>
    await repository.during(last).release(point, holderOf({ uuid }));
  using _alone = records.lock(uuid);
  records.write(record);
  const made: { disks: InstantRecord['disks']; files: string[] } = { disks: [], files: [] };
  try {
    const by = `coffer on ${repository.processes.host}`;
    // Its chunks are needed as long as the machine runs on them.
    await repository.hold(point, { holder: holderOf(record), reason: `${name} runs on it`, by });
    // It takes as long as all the rest, and is needed only when the machine starts.
    const serving = options.serving.serves(run);
    serving.catch(() => {
      // What else fails before is told first.
    });
    const bytesWritten = await restoreFiles(run, options, files);
    made.files = record.files;
    await createOverlays(overlays, { point, socketPath: socketPathOf(record) });
    made.disks = record.disks;
    const places = { files: placesOf(files).files, disks: overlays, pausesOnError: true };
    const { findings } = await host.define({ xml: vm.xml, name, uuid, ...places });
    await serving;
    tellPhase(run, 'start-guest', name);
    await host.start(uuid);
    folderMade.keep();
    const durationMs = run.clock.now() - startedAt;
    const told = [...planned.findings, ...findings];
    for (const finding of told) tellFinding(run, finding);
    const { id } = point;
    return { point: id, name, uuid, bytesWritten, bytesKept: 0, durationMs, findings: told };
  } catch (error) {
    const options = { host, records, releasePoint };
    return await afterFailure(error, () =>
      discard(unstoppable(run), options, { ...record, ...made }),
    );
  }
}

function recordOf(
  { repository, point, name, uuid, connect, runFolder }: OnPointOptions,
  overlays: ReadonlyMap<string, DiskImage>,
  planned: readonly PlannedFile[],
): InstantRecord {
  const images = planned.filter(({ oldPath }) => oldPath === undefined);
  return {
    vm: name,
    uuid,
    point: point.id,
    repository: repository.location,
    connect,
    runFolder,
    disks: images.map(({ root, path }) => {
      return { name: root, overlay: overlays.get(root)?.path ?? '', image: path };
    }),
    files: planned.filter(({ oldPath }) => oldPath !== undefined).map(({ path }) => path),
  };
}

export interface InstantOptions {
  readonly host: VmHost;
  readonly records: InstantRecords;
  /** Ends the hold that the record's point has for the machine. */
  releasePoint(run: RunContext, record: InstantRecord): Promise<void>;
}

/**
 * Moves the disks to images of their own while the machine runs; then nothing of it needs the point.
 * Can be repeated after an interruption. Fails with `vm-not-found` and `vm-busy`.
 */
export async function migrateInstant(
  run: RunContext,
  options: InstantOptions,
  { uuid, vm }: Pick<InstantRecord, 'uuid' | 'vm'>,
): Promise<Finding[]> {
  const { host, records } = options;
  using _alone = records.lock(uuid);
  const record = recordIn(records, { uuid, vm });
  const known = await host.find(uuid);
  if (!known) throw new CofferError('vm-not-found', { vm });
  if (known.isOff) {
    const reason = 'it is off: start it, so that its disks can be moved';
    throw new CofferError('vm-busy', { vm, reason });
  }
  for (const { name, image } of record.disks) {
    // Of a run that was interrupted.
    if (known.disks.get(name)?.path === image) continue;
    tellPhase(run, 'move-disks', name);
    await host.moveDisk(run, uuid, name, { path: image, format: 'qcow2' });
  }
  return await finish(run, options, record);
}

export interface ResumeOptions {
  readonly host: VmHost;
  readonly records: InstantRecords;
  readonly servers: DiskServers;
}

/**
 * Has the disks served again, after a restart of the host or when whoever served them was ended, and
 * lets the machine go on. Fails with `vm-not-found` when it is gone.
 */
export async function resumeInstant(
  run: RunContext,
  { host, records, servers }: ResumeOptions,
  record: InstantRecord,
): Promise<void> {
  const { uuid, vm } = record;
  // While its disks move, it can be resumed all the same.
  using _alone = records.lock(`${uuid}-keeper`);
  if (!(await host.find(uuid))) {
    const reason = 'it is gone: discard what is left of it';
    throw new CofferError('vm-not-found', { vm, reason });
  }
  if (servers.isKept(record)) await servers.untilServed(run, record);
  else {
    await using serving = await servers.start(record);
    await host.giveFiles([serving.runFolder]);
    await serving.serves(run);
    serving.release();
  }
  tellPhase(run, 'start-guest', vm);
  if ((await host.resumeAfterError(uuid)) === 'off') await host.start(uuid);
}

/** Ends the machine and removes all of it. Fails with `vm-not-found` and `vm-busy`. */
export async function discardInstant(
  run: RunContext,
  options: InstantOptions,
  { uuid, vm }: Pick<InstantRecord, 'uuid' | 'vm'>,
): Promise<Finding[]> {
  using _alone = options.records.lock(uuid);
  return await discard(run, options, recordIn(options.records, { uuid, vm }));
}

/** Another command may have removed it since it was looked up. */
function recordIn(
  records: InstantRecords,
  { uuid, vm }: Pick<InstantRecord, 'uuid' | 'vm'>,
): InstantRecord {
  const record = records.read(uuid);
  if (record) return record;
  throw new CofferError('vm-not-found', { vm, reason: 'it does not run on a point' });
}

async function discard(
  run: RunContext,
  options: InstantOptions,
  record: InstantRecord,
): Promise<Finding[]> {
  const { host } = options;
  if (await host.find(record.uuid)) await host.remove(record.uuid);
  removeFiles(record.files.map((path) => ({ path })));
  removeFiles(record.disks.map(({ image: path }) => ({ path })));
  return await finish(run, options, record);
}

/** Without its record, the process that serves ends. */
async function finish(
  run: RunContext,
  options: InstantOptions,
  record: InstantRecord,
): Promise<Finding[]> {
  const { uuid, disks, runFolder } = record;
  for (const { overlay } of disks) rmSync(overlay, { force: true });
  const findings = await letGoOfPoint(run, options, record);
  for (const finding of findings) tellFinding(run, finding);
  options.records.remove(uuid);
  if (existsSync(runFolder)) rmSync(runFolder, { recursive: true, force: true });
  return findings;
}

async function letGoOfPoint(
  run: RunContext,
  options: InstantOptions,
  record: InstantRecord,
): Promise<Finding[]> {
  const { point } = record;
  try {
    await options.releasePoint(run, record);
    return [];
  } catch (error) {
    // The store may be gone; nothing else of the machine needs it.
    if (!isCofferError(error)) throw error;
    const details = { holder: holderOf(record), reason: error.message };
    return [{ code: 'point-still-held', subject: { kind: 'point', name: point }, details }];
  }
}
