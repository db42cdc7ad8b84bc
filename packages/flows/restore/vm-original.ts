/**
 * Restore of a virtual machine in its place. The old state is kept until somebody accepts the new one:
 * old images beside the new ones, or, where only what differs is written, the blocks that it replaced.
 *
 * Invariant: from the first change until `accept`, the record says all that is needed to undo, whatever
 * step a crash has interrupted; undoing can be repeated. One run at a time changes a machine.
 */
import { existsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterFailure, CofferError, type Finding } from '@coffer/base';
import { openKeeping } from '@coffer/disk/overlay/keeping.ts';
import type { PointRoot, RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import type { KnownVm, VmHost } from '@coffer/workloads/vm-host.ts';
import type { VmManifest } from '../backup/manifest.ts';
import { newProgress, type Progress } from '../progress.ts';
import { type DiskRestoreResult, restoreDisk } from './disk.ts';
import {
  fileMisfits,
  type PlannedFile,
  refuseMisfits,
  removeFiles,
  restoreFiles,
} from './vm-files.ts';
import type { VmRestoreResult } from './vm-copy.ts';
import { dataBytesOf, vmOf } from './vm-point.ts';
import {
  keptPathOf,
  type KeptReplacement,
  move,
  type MovedReplacement,
  type Replacement,
  stampOf,
  type UndoRecords,
  oldPathOf,
} from './undo-record.ts';
import {
  accept,
  isOtherImage,
  keptIn,
  openImage,
  refuseSaved,
  undo,
  type UndoOptions,
} from './vm-undo.ts';

export interface VmOriginalOptions {
  readonly repository: UnlockedRepository;
  readonly point: RecoveryPoint;
  readonly host: VmHost;
  /** URI of the host. */
  readonly connect: string;
  /** Writes only what differs, in place. */
  readonly delta: boolean;
  readonly records: UndoRecords;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
}

/** The machine is off afterwards. Fails with `undo-pending`, `target-unfit`, `vm-saved`. */
export async function restoreVmOriginal(options: VmOriginalOptions): Promise<VmRestoreResult> {
  const { repository, point, host } = options;
  const startedAt = repository.clock.now();
  const vm = vmOf(repository, point);
  using _alone = options.records.lock(vm.uuid);
  await finishEarlier(options, vm);
  const known = await host.find(vm.uuid);
  const written = known
    ? await overOriginal(options, vm, known, startedAt)
    : await againInItsPlace(options, vm);
  const durationMs = repository.clock.now() - startedAt;
  return { point: point.id, name: known?.name ?? vm.name, uuid: vm.uuid, ...written, durationMs };
}

/** What a crash has left is undone first. Fails with `undo-pending` when somebody has to decide. */
async function finishEarlier(
  options: VmOriginalOptions,
  { uuid, name }: VmManifest,
): Promise<void> {
  const { records } = options;
  const record = records.read(uuid);
  if (record?.state === 'done') throw new CofferError('undo-pending', { vm: name });
  if (record?.state === 'accepted') accept(records, record);
  if (record?.state === 'under-way') await undo(undoOptions(options), record);
}

type Written = Pick<VmRestoreResult, 'bytesWritten' | 'bytesKept' | 'findings'>;

/** The machine is gone: it comes back with everything where it was. */
async function againInItsPlace(options: VmOriginalOptions, vm: VmManifest): Promise<Written> {
  const { repository, point, host, signal } = options;
  const disks = vm.disks.map(({ name, path, format }): PlannedFile => {
    return { root: name, path, format: imageFormat(format), oldPath: undefined };
  });
  const others = vm.files.filter(({ role, path }) => role !== 'memory' && !existsSync(path));
  const files = [...disks, ...others.map((file) => plannedFile(file))];
  const roots = files.map(({ root }) => rootNamed(point, root));
  const problems = fileMisfits(files, {
    folder: dirname(files[0]?.path ?? '/'),
    bytesNeeded: await dataBytesOf(repository, roots, signal),
  });
  refuseMisfits(await host.misfits({ xml: vm.xml, name: vm.name, uuid: undefined }), problems);
  const bytesWritten = await restoreFiles(options, files);
  try {
    await host.giveFiles(files.map(({ path }) => path));
    await host.defineAgain(vm.xml);
  } catch (error) {
    removeFiles(files);
    throw error;
  }
  return { bytesWritten, bytesKept: 0, findings: [] };
}

function plannedFile({ name, path }: VmManifest['files'][number]): PlannedFile {
  return { root: name, path, format: 'raw', oldPath: path };
}

async function overOriginal(
  options: VmOriginalOptions,
  vm: VmManifest,
  known: KnownVm,
  startedAt: number,
): Promise<Written> {
  const { host, point, connect, records, delta } = options;
  refuseSaved(known);
  const { pairs, findings } = pairDisks(point, vm, known);
  const replacements = [
    ...pairs.map((pair) =>
      delta || !isFile(pair.path) ? kept(options, vm, pair) : moved(pair, { isDisk: true }),
    ),
    ...stateFiles(vm).map((pair) => moved(pair, { isDisk: false })),
  ];
  await refuseUnfit(options, [...pairs, ...stateFiles(vm)], replacements);
  const { name, uuid } = vm;
  const record = { vm: name, uuid, point: point.id, connect, startedAt, replacements };
  records.write({ ...record, state: 'under-way' });
  let written: Omit<Written, 'findings'>;
  try {
    written = await replace(options, replacements, [...pairs, ...stateFiles(vm)], known);
    // The images are others; what tracked the changes of those before is of no use for them.
    if (replacements.some(isOtherImage)) await host.forgetTracking(uuid);
  } catch (error) {
    return await afterFailure(error, () =>
      undo(undoOptions(options), { ...record, state: 'under-way' }),
    );
  }
  records.write({ ...record, replacements: replacements.map(stamped), state: 'done' });
  return { ...written, findings };
}

function stamped(replacement: Replacement): Replacement {
  return replacement.kind === 'kept'
    ? { ...replacement, stamp: stampOf(replacement) }
    : replacement;
}

/** Fails with `target-unfit`. The old files stay until the new ones are accepted. */
async function refuseUnfit(
  { repository, point, signal }: VmOriginalOptions,
  pairs: readonly Pair[],
  replacements: readonly Replacement[],
): Promise<void> {
  const byFolder = Map.groupBy(
    pairs.filter((_pair, index) => replacements[index]?.kind === 'moved'),
    ({ path }) => dirname(path),
  );
  const problems: string[] = [];
  for (const [folder, inFolder] of byFolder) {
    const roots = inFolder.map(({ root }) => rootNamed(point, root));
    const bytesNeeded = await dataBytesOf(repository, roots, signal);
    const files = inFolder.map((pair) => ({ ...pair, path: newPathOf(pair), oldPath: undefined }));
    problems.push(...fileMisfits(files, { folder, bytesNeeded }));
  }
  for (const old of replacements.map(oldPathOf).filter((path) => existsSync(path))) {
    problems.push(`there is a file already, which another restore may need: ${old}`);
  }
  refuseMisfits([], problems);
}

/** A root of the point, and the file that it is restored to. */
interface Pair {
  readonly root: string;
  readonly path: string;
  readonly format: 'raw' | 'qcow2';
}

/** Disks that only one side has stay as they are. Fails with `disk-not-found` when none is on both. */
function pairDisks(
  { id }: RecoveryPoint,
  vm: VmManifest,
  known: KnownVm,
): { pairs: Pair[]; findings: Finding[] } {
  const findings: Finding[] = [];
  const pairs = vm.disks.flatMap(({ name }): Pair[] => {
    const image = known.disks.get(name);
    if (image) return [{ root: name, path: image.path, format: imageFormat(image.format) }];
    const message = 'the machine has no such disk any more; it was not restored';
    findings.push({ code: 'disk-not-restored', path: name, message });
    return [];
  });
  const restored = new Set(pairs.map(({ root }) => root));
  for (const name of known.disks.keys()) {
    if (restored.has(name)) continue;
    const message = 'the point has no such disk; it was left as it is';
    findings.push({ code: 'disk-untouched', path: name, message });
  }
  if (pairs.length > 0) return { pairs, findings };
  throw new CofferError('disk-not-found', { point: id, vm: vm.name });
}

/** Firmware variables and the state of a TPM belong to the disks; kernels are shared with others. */
function stateFiles(vm: VmManifest): Pair[] {
  return vm.files
    .filter(({ role }) => role === 'nvram' || role === 'tpm')
    .map(({ name, path }) => ({ root: name, path, format: 'raw' }));
}

function imageFormat(format: string): 'raw' | 'qcow2' {
  return format === 'qcow2' ? 'qcow2' : 'raw';
}

/** True when a machine is changed where it is: what it overwrites when it runs again is not kept. */
export function changesInPlace({ disks }: KnownVm, delta: boolean): boolean {
  return delta || [...disks.values()].some(({ path }) => !isFile(path));
}

function isFile(path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats === undefined || stats.isFile();
}

function newPathOf({ path }: Pair): string {
  return `${path}.coffer-new`;
}

function moved(pair: Pair, { isDisk }: { readonly isDisk: boolean }): MovedReplacement {
  const { path } = pair;
  const isNew = !existsSync(path);
  const [newPath, oldPath] = [newPathOf(pair), `${path}.coffer-old`];
  return { kind: 'moved', path, newPath, oldPath, isNew, isDisk };
}

function kept({ records }: VmOriginalOptions, { uuid }: VmManifest, pair: Pair): KeptReplacement {
  const { path, format, root } = pair;
  const keptPath = isFile(path) ? `${path}.coffer-old` : keptPathOf(records, uuid, root);
  return { kind: 'kept', path, format, keptPath };
}

/** New files are made while the machine runs still; it stops for what cannot wait. */
async function replace(
  options: VmOriginalOptions,
  replacements: readonly Replacement[],
  pairs: readonly Pair[],
  known: KnownVm,
): Promise<Omit<Written, 'findings'>> {
  const { host } = options;
  const written = { bytesWritten: 0, bytesKept: 0 };
  const work = replacements.map((replacement, index) => ({ replacement, pair: pairs[index]! }));
  for (const { replacement, pair } of work) {
    if (replacement.kind !== 'moved') continue;
    const file = { ...pair, path: replacement.newPath, oldPath: undefined };
    written.bytesWritten += await restoreFiles(options, [file]);
    await host.giveFiles([replacement.newPath]);
  }
  await stopped(host, known);
  for (const { replacement, pair } of work) {
    if (replacement.kind === 'moved') move(replacement);
    else {
      const result = await writeDifferences(options, replacement, pair);
      written.bytesWritten += result.bytesWritten;
      written.bytesKept += result.bytesKept;
    }
  }
  return written;
}

/** Somebody may have started it, or saved it, since it was looked at. */
async function stopped(host: VmHost, { uuid }: KnownVm): Promise<void> {
  await host.stop(uuid);
  const known = await host.find(uuid);
  if (known) refuseSaved(known);
}

async function writeDifferences(
  { repository, point, progress, signal }: VmOriginalOptions,
  replacement: KeptReplacement,
  { root: name }: Pair,
): Promise<DiskRestoreResult> {
  const { root, sizeBytes } = rootNamed(point, name);
  const target = await openImage(replacement, repository);
  const disk = await openKeeping({ target, ...keptIn(replacement) });
  try {
    if (disk.sizeBytes < sizeBytes) {
      const { path } = replacement;
      throw new CofferError('target-too-small', { path, has: disk.sizeBytes, needs: sizeBytes });
    }
    const part = newProgress();
    const result = await restoreDisk({
      reader: repository.reader(signal),
      work: repository.work,
      source: { root: Buffer.from(root, 'hex'), sizeBytes },
      target: disk,
      mode: 'delta',
      progress: part,
      signal,
    });
    throwFirst(result);
    await disk.flush();
    progress.bytesDone += part.bytesTotal;
    return result;
  } finally {
    await disk.close();
  }
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

function undoOptions({ host, records, repository }: VmOriginalOptions): UndoOptions {
  const { clock, random } = repository;
  return { host, records, clock, random };
}
