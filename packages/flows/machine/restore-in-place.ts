/**
 * Restore of a virtual machine in its place. The old state is kept until somebody accepts the new one:
 * old images beside the new ones, or, where only what differs is written, the blocks that it replaced.
 *
 * Invariant: from the first change until `accept`, the record says all that is needed to undo, whatever
 * step a crash has interrupted; undoing can be repeated. One run at a time changes a machine.
 */
import { existsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  afterFailure,
  CofferError,
  type Finding,
  type RunContext,
  tellFinding,
  tellPhase,
  tellTotal,
  unstoppable,
  withinPhase,
} from '@coffer/base';
import { openKeeping } from '@coffer/disk/overlay/keeping.ts';
import type { PointRoot, RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import type { KnownVm, VmHost } from '@coffer/workloads/vm-host.ts';
import type { VmManifest } from '../manifest.ts';
import { type DiskRestoreResult, restoreDisk } from '../restore/disk/disk.ts';
import {
  fileMisfits,
  type PlannedFile,
  refuseMisfits,
  removeFiles,
  restoreFiles,
} from './machine-files.ts';
import {
  type OriginalPlan,
  planAgain,
  type PlannedReplacement,
  planOriginal,
} from './in-place-plan.ts';
import type { VmRestoreResult } from './restore-as-new.ts';
import type { Afterwards } from '../request.ts';
import { goOnAfterwards, refuseGoingOn } from './afterwards.ts';
import { dataBytesOf, vmOf } from './machine-point.ts';
import {
  keptPathOf,
  type KeptReplacement,
  move,
  type Replacement,
  stampOf,
  type UndoRecords,
  oldPathOf,
} from './undo-record.ts';
import {
  acceptStarted,
  accept,
  isOtherImage,
  keptIn,
  openImage,
  refuseSaved,
  undo,
} from './undo.ts';

export interface InPlaceOptions {
  readonly repository: UnlockedRepository;
  readonly point: RecoveryPoint;
  readonly host: VmHost;
  /** URI of the host. */
  readonly connect: string;
  /** Writes only what differs, in place. */
  readonly delta: boolean;
  readonly records: UndoRecords;
  readonly afterwards: Afterwards;
}

export interface InPlaceResult extends VmRestoreResult {
  /** It was changed in place, and runs: nothing of its old state is kept. */
  readonly isFinal: boolean;
}

/** What a restore in place would do to a machine. */
export interface InPlacePreview {
  /** Of the machine as it is called now. */
  readonly vm: string;
  /** It does not exist any more, and comes back. */
  readonly isGone: boolean;
  readonly willStop: boolean;
  /** It is changed in place and runs afterwards: its old state cannot come back then. */
  readonly cannotBeUndone: boolean;
  readonly findings: readonly Finding[];
}

export async function previewInPlace(
  run: RunContext,
  options: Omit<InPlaceOptions, 'records' | 'connect'>,
): Promise<InPlacePreview> {
  const { host, point, afterwards } = options;
  const repository = options.repository.during(run);
  const { uuid, name } = vmOf(repository, point);
  refuseGoingOn({ repository, point, afterwards }, { name, keepsIdentity: true });
  const known = await host.find(uuid);
  if (!known) {
    return { vm: name, isGone: true, willStop: false, cannotBeUndone: false, findings: [] };
  }
  const { replacements, findings } = inPlacePlanOf({ repository, point }, known, options);
  const isInPlace = replacements.some(({ kind }) => kind === 'kept');
  const cannotBeUndone = isInPlace && afterwards !== 'leave-off';
  return { vm: known.name, isGone: false, willStop: !known.isOff, cannotBeUndone, findings };
}

/** The machine is off before it goes on. Fails with `undo-pending`, `target-unfit`, `vm-saved`. */
export async function restoreInPlace(
  run: RunContext,
  given: InPlaceOptions,
): Promise<InPlaceResult> {
  const options = { ...given, repository: given.repository.during(run) };
  const { records, afterwards } = options;
  const { name } = vmOf(options.repository, options.point);
  refuseGoingOn(options, { name, keepsIdentity: true });
  const startedAt = run.clock.now();
  const restored = await restoreAlone(run, options, startedAt);
  await goOnAfterwards(run, options, restored);
  const isFinal = afterwards !== 'leave-off' && acceptStarted(records, restored.uuid);
  return { ...restored, isFinal, durationMs: run.clock.now() - startedAt };
}

async function restoreAlone(
  run: RunContext,
  options: InPlaceOptions,
  startedAt: number,
): Promise<Omit<VmRestoreResult, 'durationMs'>> {
  const { repository, point, host } = options;
  const vm = vmOf(repository, point);
  using _alone = options.records.lock(vm.uuid);
  await finishEarlier(run, options, vm);
  const known = await host.find(vm.uuid);
  const written = known
    ? await overOriginal(run, options, { known, startedAt })
    : await againInItsPlace(run, options, vm);
  for (const finding of written.findings) tellFinding(run, finding);
  return { point: point.id, name: known?.name ?? vm.name, uuid: vm.uuid, ...written };
}

/** What a crash has left is undone first. Fails with `undo-pending` when somebody has to decide. */
async function finishEarlier(
  run: RunContext,
  options: InPlaceOptions,
  { uuid, name }: VmManifest,
): Promise<void> {
  const { records } = options;
  const record = records.read(uuid);
  if (record?.state === 'done') throw new CofferError('undo-pending', { vm: name });
  if (record?.state === 'accepted') accept(records, record);
  if (record?.state === 'under-way') await undo(unstoppable(run), options, record);
}

type Written = Pick<VmRestoreResult, 'bytesWritten' | 'bytesKept' | 'findings'>;

/** The machine is gone: it comes back with everything where it was. */
async function againInItsPlace(
  run: RunContext,
  options: InPlaceOptions,
  vm: VmManifest,
): Promise<Written> {
  const { host } = options;
  const known = await host.read(vm.xml);
  const plan = planAgain(vm, known);
  const replaced = plan.replacements.map(({ root, path, format }): PlannedFile => {
    return { root, path, format, oldPath: undefined };
  });
  const kernels = vm.files.filter(({ role, path }) => isKernel(role) && !existsSync(path));
  const files = [...replaced, ...kernels.map((file) => plannedFile(file))];
  const problems = [...plan.problems, ...(await spaceProblems(options, files))];
  for (const folder of new Set(plan.replacements.map(({ path }) => dirname(path)))) {
    problems.push(...(await host.folderProblems(folder)));
  }
  refuseMisfits(await host.misfits({ xml: vm.xml, name: vm.name, uuid: undefined }), problems);
  tellPhase(run, 'restore-disks');
  tellTotal(run, { bytes: bytesOf(options.point, files) });
  const bytesWritten = await restoreFiles(run, options, files);
  try {
    tellPhase(run, 'define-machine', vm.name);
    await host.giveFiles(files.map(({ path }) => path));
    const pools = new Set([...known.disks.values()].flatMap(({ pool }) => pool ?? []));
    for (const pool of pools) await host.refreshPool(pool);
    await host.defineAgain(vm.xml);
  } catch (error) {
    removeFiles(files);
    throw error;
  }
  return { bytesWritten, bytesKept: 0, findings: plan.findings };
}

/** Other machines use them, too: one that is there stays. */
function isKernel(role: VmManifest['files'][number]['role']): boolean {
  return role === 'kernel' || role === 'initrd';
}

function plannedFile({ name, path }: VmManifest['files'][number]): PlannedFile {
  return { root: name, path, format: 'raw', oldPath: path };
}

/** What is to be replaced, and what is in its way. */
function inPlacePlanOf(
  { repository, point }: Pick<InPlaceOptions, 'repository' | 'point'>,
  known: KnownVm,
  { delta }: Pick<InPlaceOptions, 'delta'>,
): OriginalPlan {
  const sizes = new Map(point.roots.map(({ name, sizeBytes }) => [name, sizeBytes]));
  return planOriginal(vmOf(repository, point), known, { delta, sizes });
}

async function overOriginal(
  run: RunContext,
  options: InPlaceOptions,
  { known, startedAt }: { readonly known: KnownVm; readonly startedAt: number },
): Promise<Written> {
  const { host, point, connect, records } = options;
  refuseSaved(known);
  const plan = inPlacePlanOf(options, known, options);
  const replacements = plan.replacements.map((planned) => replacementOf(options, known, planned));
  await refuseUnfit(options, known, plan, replacements);
  const { name, uuid } = known;
  const record = { vm: name, uuid, point: point.id, connect, startedAt, replacements };
  records.write({ ...record, state: 'under-way' });
  run.tell({ kind: 'milestone', at: 'record-written', id: uuid });
  let written: Omit<Written, 'findings'>;
  try {
    written = await replace(run, options, { replacements, planned: plan.replacements, known });
    // The images are others; what tracked the changes of those before is of no use for them.
    if (replacements.some(isOtherImage)) await host.forgetTracking(uuid);
  } catch (error) {
    return await afterFailure(error, () =>
      undo(unstoppable(run), options, { ...record, state: 'under-way' }),
    );
  }
  records.write({ ...record, replacements: replacements.map(stamped), state: 'done' });
  return { ...written, findings: plan.findings };
}

function stamped(replacement: Replacement): Replacement {
  return replacement.kind === 'kept'
    ? { ...replacement, stamp: stampOf(replacement) }
    : replacement;
}

/** Fails with `target-unfit`, naming all of it. The old files stay until the new ones are accepted. */
async function refuseUnfit(
  options: InPlaceOptions,
  { uuid }: KnownVm,
  plan: OriginalPlan,
  replacements: readonly Replacement[],
): Promise<void> {
  const problems = [...plan.problems];
  const others = await options.host.othersUsing(
    uuid,
    plan.replacements.map(({ path }) => path),
  );
  for (const [path, vm] of others) problems.push(`the machine ${vm} uses it, too: ${path}`);
  const moved = plan.replacements.filter(({ kind }) => kind === 'moved');
  const files = moved.map((file) => ({ ...file, path: newPathOf(file) }));
  problems.push(...(await spaceProblems(options, files)));
  for (const old of replacements.map(oldPathOf).filter((path) => existsSync(path))) {
    problems.push(`there is a file already, which another restore may need: ${old}`);
  }
  refuseMisfits([], problems);
}

/** Of each folder that gets some of the files. */
async function spaceProblems(
  { repository, point }: InPlaceOptions,
  files: readonly Pick<PlannedFile, 'root' | 'path'>[],
): Promise<string[]> {
  const problems: string[] = [];
  for (const [folder, inFolder] of Map.groupBy(files, ({ path }) => dirname(path))) {
    const roots = inFolder.map(({ root }) => rootNamed(point, root));
    const bytesNeeded = await dataBytesOf(repository, roots);
    problems.push(...fileMisfits(inFolder, { folder, bytesNeeded }));
  }
  return problems;
}

function newPathOf({ path }: Pick<PlannedReplacement, 'path'>): string {
  return `${path}.coffer-new`;
}

function replacementOf(
  { records }: InPlaceOptions,
  { uuid }: KnownVm,
  planned: PlannedReplacement,
): Replacement {
  const { root, path, format, isDisk, kind } = planned;
  const beside = `${path}.coffer-old`;
  if (kind === 'moved') {
    const newPath = newPathOf(planned);
    return { kind, path, newPath, oldPath: beside, isNew: !existsSync(path), isDisk };
  }
  const keptPath = isFile(path) ? beside : keptPathOf(records, uuid, root);
  return { kind, path, format, keptPath };
}

function isFile(path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats === undefined || stats.isFile();
}

/** New files are made while the machine runs still; it stops for what cannot wait. */
async function replace(
  run: RunContext,
  options: InPlaceOptions,
  given: {
    readonly replacements: readonly Replacement[];
    readonly planned: readonly PlannedReplacement[];
    readonly known: KnownVm;
  },
): Promise<Omit<Written, 'findings'>> {
  const { replacements, planned, known } = given;
  const { host } = options;
  tellPhase(run, 'restore-disks');
  const moved = planned.filter(({ kind }) => kind === 'moved');
  tellTotal(run, { bytes: bytesOf(options.point, moved) });
  const written = { bytesWritten: 0, bytesKept: 0 };
  const work = replacements.map((replacement, index) => ({ replacement, file: planned[index]! }));
  for (const { replacement, file: planned } of work) {
    if (replacement.kind !== 'moved') continue;
    const file = { ...planned, path: replacement.newPath, oldPath: undefined };
    written.bytesWritten += await restoreFiles(run, options, [file]);
    await host.giveFiles([replacement.newPath]);
  }
  await stopped(run, host, known);
  tellPhase(run, 'restore-disks');
  const kept = planned.filter(({ kind }) => kind === 'kept');
  tellTotal(run, { bytes: bytesOf(options.point, kept) });
  for (const { replacement, file } of work) {
    if (replacement.kind === 'moved') move(replacement);
    else {
      const result = await writeDifferences(run, options, { replacement, name: file.root });
      written.bytesWritten += result.bytesWritten;
      written.bytesKept += result.bytesKept;
    }
  }
  return written;
}

/** Somebody may have started it, or saved it, since it was looked at. */
async function stopped(run: RunContext, host: VmHost, { uuid, name }: KnownVm): Promise<void> {
  tellPhase(run, 'stop-guest', name);
  await host.stop(run, uuid);
  const known = await host.find(uuid);
  if (known) refuseSaved(known);
}

async function writeDifferences(
  run: RunContext,
  { repository, point }: InPlaceOptions,
  { replacement, name }: { readonly replacement: KeptReplacement; readonly name: string },
): Promise<DiskRestoreResult> {
  const { root, sizeBytes } = rootNamed(point, name);
  const target = await openImage(run, replacement);
  const disk = await openKeeping({ target, ...keptIn(replacement) });
  try {
    if (disk.sizeBytes < sizeBytes) {
      const { path } = replacement;
      throw new CofferError('target-too-small', { path, has: disk.sizeBytes, needs: sizeBytes });
    }
    const result = await restoreDisk(withinPhase(run), {
      reader: repository.reader(),
      work: repository.work,
      source: { root: Buffer.from(root, 'hex'), sizeBytes },
      target: disk,
      mode: 'delta',
    });
    throwFirst(result);
    await disk.flush();
    return result;
  } finally {
    await disk.close();
  }
}

/** Of the roots that files are made of. */
function bytesOf(point: RecoveryPoint, files: readonly { readonly root: string }[]): number {
  return files.reduce((sum, { root }) => sum + rootNamed(point, root).sizeBytes, 0);
}

function rootNamed(point: RecoveryPoint, name: string): PointRoot {
  const root = point.roots.find((each) => each.name === name);
  if (!root) throw new CofferError('disk-not-found', { point: point.id, disk: name });
  return root;
}

function throwFirst({ failures }: DiskRestoreResult): void {
  const [first] = failures;
  if (first) throw first.error;
}
