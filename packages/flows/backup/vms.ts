/**
 * The backup flow of virtual machines. Machines that are captured together become points of one
 * moment, which exist all or not at all.
 */
import { CofferError, type Finding } from '@coffer/base';
import type { UnlockedRepository, Session } from '@coffer/repository';
import type {
  CaptureBase,
  Consistency,
  ReachedConsistency,
  VmCapture,
} from '@coffer/workloads/vm-capture.ts';
import type { Progress } from '../progress.ts';
import { type BackupResult, type Captured, makePoints, type RunOptions } from './run.ts';
import { backupVm, type DiskRead, type VmBackupResult } from './vm.ts';
import { findVmBase, itemOfVm, type VmBase } from './vm-base.ts';

/** A machine that is to be backed up. */
export interface VmSource {
  readonly name: string;
  readonly uuid: string;
  /** Where it is, as people name it. */
  readonly path: string;
}

export interface VmsBackupOptions extends RunOptions {
  readonly sources: readonly VmSource[];
  /** Captures all machines at one moment; what changed since a base is told where that is possible. */
  readonly capture: (
    bases: readonly (CaptureBase | undefined)[],
    repository: UnlockedRepository,
  ) => Promise<readonly VmCapture[]>;
  /** Undefined: the item that the machine was protected as before, or a new one of its name. */
  readonly item: string | undefined;
  /** Reads all disks whole, and compares with what is known to have changed. */
  readonly checks: boolean;
  /** Also reads what the guests have swapped out. */
  readonly readsSwap: boolean;
  readonly progress: Progress;
}

export interface VmResult extends BackupResult {
  readonly vm: string;
  readonly consistency: {
    readonly level: Consistency;
    readonly reason: string | undefined;
    readonly frozenMs: number;
  };
  readonly disks: readonly DiskRead[];
  readonly excluded: VmCapture['excluded'];
  /** Of the memory that was captured with the disks. */
  readonly memoryBytes: number | undefined;
  /** What the guest has swapped out, which was not read. */
  readonly swap: readonly {
    readonly disk: string;
    readonly area: string;
    readonly bytes: number;
  }[];
}

/** In the order of the sources. Fails with what ended a capture, where it could not go on. */
export async function backupVms(options: VmsBackupOptions): Promise<VmResult[]> {
  if (options.item !== undefined && options.sources.length > 1) {
    throw new CofferError('usage', { reason: 'one item cannot be of several machines' });
  }
  const captures: VmCapture[] = [];
  const stored: VmBackupResult[] = [];
  const results = await makePoints(options, async function* ({ session, scope }) {
    const bases: (VmBase | undefined)[] = [];
    for (const { uuid } of options.sources) bases.push(await usableBase(options, session, uuid));
    const known = bases.map((base) => base?.capture);
    for (const each of await options.capture(known, options.repository)) {
      captures.push(scope.use(each));
    }
    countBytes(options.progress, captures);
    for (const [index, capture] of captures.entries()) {
      const run = { source: options.sources[index]!, capture, base: bases[index], captures };
      const result = await store(options, session, run);
      stored.push(result);
      yield await captured(options, run, result);
    }
  });
  return results.map((result, index) => resultOf(result, captures[index]!, stored[index]!));
}

async function usableBase(
  { repository, signal }: VmsBackupOptions,
  session: Session,
  uuid: string,
): Promise<VmBase | undefined> {
  return await findVmBase(repository, { session, uuid, signal });
}

function countBytes(progress: Progress, captures: readonly VmCapture[]): void {
  for (const { disks } of captures) {
    for (const { disk } of disks) progress.bytesTotal += disk.sizeBytes;
  }
}

interface VmRun {
  readonly source: VmSource;
  readonly capture: VmCapture;
  readonly base: VmBase | undefined;
  /** Of all machines of the run. */
  readonly captures: readonly VmCapture[];
}

async function store(
  options: VmsBackupOptions,
  session: Session,
  { capture, base, captures }: VmRun,
): Promise<VmBackupResult> {
  const ends = captures.map(({ signal }) => signal);
  const signal = AbortSignal.any(options.signal ? [options.signal, ...ends] : ends);
  try {
    return await backupVm({ ...options, session, signal }, capture, base);
  } catch (error) {
    const ended = captures.find((each) => each.signal.aborted) ?? capture;
    throw await ended.explain(error);
  }
}

async function captured(
  { repository, ...options }: VmsBackupOptions,
  { source, capture, base, captures }: VmRun,
  stored: VmBackupResult,
): Promise<Captured> {
  const together = captures.length > 1 ? captures.map(({ uuid }) => uuid) : undefined;
  return {
    item: options.item ?? base?.point.item ?? (await itemOfVm(repository, source)),
    kind: 'vm',
    sourcePath: source.path,
    roots: stored.roots,
    bytesRead: stored.bytesRead,
    findings: findingsOf(capture, stored),
    manifest: { vm: { ...stored.manifest, together } },
    keep: () => capture.keep(),
  };
}

function findingsOf(
  { name, consistency, findings: aboutMachine }: VmCapture,
  { findings }: VmBackupResult,
): Finding[] {
  const ofMachine = aboutMachine.map((finding) => ({
    ...finding,
    path: `${name} ${finding.path}`,
  }));
  return [...consistencyFindings(name, consistency), ...ofMachine, ...findings];
}

/** That a guest has no agent is no news at each backup; that something failed is. */
function consistencyFindings(path: string, reached: ReachedConsistency): Finding[] {
  if (!reached.isFailure) return [];
  const message = `${reached.level}-consistent only: ${reached.reason ?? ''}`;
  return [{ code: 'consistency-reduced', path, message }];
}

function resultOf(
  result: BackupResult,
  { name: vm, excluded, consistency }: VmCapture,
  { disks, manifest, roots }: VmBackupResult,
): VmResult {
  const memory = manifest.files.find(({ role }) => role === 'memory');
  const { level, reason, frozenMs } = consistency;
  return {
    ...result,
    vm,
    consistency: { level, reason, frozenMs },
    disks,
    excluded,
    memoryBytes: roots.find((root) => root.name === memory?.name)?.sizeBytes,
    swap: (manifest.swap ?? []).map(({ disk, area, ranges }) => {
      const bytes = ranges.reduce((sum, { length }) => sum + length, 0);
      return { disk, area, bytes };
    }),
  };
}
