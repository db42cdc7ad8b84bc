/**
 * The backup flow of virtual machines. Machines that are captured together become points of one
 * moment, which exist all or not at all.
 */
import {
  CofferError,
  endedBy,
  type Finding,
  type RunContext,
  tellFinding,
  tellPhase,
  tellTotal,
} from '@coffer/base';
import type {
  CaptureBase,
  Consistency,
  ReachedConsistency,
  VmCapture,
} from '@coffer/workloads/vm-capture.ts';
import type { VmManifest } from '../manifest.ts';
import { type BackupResult, type Captured, makePoints, type RunOptions } from './run.ts';
import { backupVm, type DiskRead, type VmBackupOptions, type VmBackupResult } from './vm.ts';
import { findMachine, type KnownMachine } from './vm-base.ts';
import type { VmNotes } from './vm-notes.ts';

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
    run: RunContext,
    bases: readonly (CaptureBase | undefined)[],
    repositoryId: string,
  ) => Promise<readonly VmCapture[]>;
  /** Undefined: the item that the machine was protected as before, or a new one of its name. */
  readonly item?: string | undefined;
  /** Reads all disks whole, and compares with what is known to have changed. */
  readonly checks: boolean;
  /** Also reads what the guests have swapped out. */
  readonly readsSwap: boolean;
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
export async function backupVms(run: RunContext, options: VmsBackupOptions): Promise<VmResult[]> {
  if (options.item !== undefined && options.sources.length > 1) {
    throw new CofferError('usage', { reason: 'one item cannot be of several machines' });
  }
  const captures: VmCapture[] = [];
  const stored: VmBackupResult[] = [];
  const results = await makePoints(run, options, async function* ({ repository, session, scope }) {
    const machines: KnownMachine[] = [];
    for (const { name, uuid } of options.sources) {
      machines.push(await findMachine(repository, { session, name, uuid }));
    }
    const known = machines.map(({ base }) => base?.capture);
    tellPhase(run, 'hold-guests');
    for (const each of await options.capture(run, known, repository.config.repositoryId)) {
      captures.push(scope.use(each));
    }
    tellPhase(run, 'read-disks');
    tellTotal(run, { bytes: bytesOf(captures) });
    for (const [index, capture] of captures.entries()) {
      const known = machines[index]!;
      const machine = { source: options.sources[index]!, capture, known, captures };
      const result = await store(run, { ...options, repository, session }, machine);
      stored.push(result);
      yield captured(run, options, machine, result);
    }
  });
  return results.map((result, index) => resultOf(result, captures[index]!, stored[index]!));
}

function bytesOf(captures: readonly VmCapture[]): number {
  const disks = captures.flatMap((capture) => capture.disks);
  return disks.reduce((sum, { disk }) => sum + disk.sizeBytes, 0);
}

interface CapturedVm {
  readonly source: VmSource;
  readonly capture: VmCapture;
  readonly known: KnownMachine;
  /** Of all machines of the run. */
  readonly captures: readonly VmCapture[];
}

async function store(
  run: RunContext,
  options: VmBackupOptions,
  { capture, known: { base }, captures }: CapturedVm,
): Promise<VmBackupResult> {
  const whileCaptured = endedBy(run, ...captures.map(({ signal }) => signal));
  try {
    return await backupVm(whileCaptured, options, { capture, base });
  } catch (error) {
    const ended = captures.find((each) => each.signal.aborted) ?? capture;
    throw await ended.explain(error);
  }
}

function captured(
  run: RunContext,
  options: VmsBackupOptions,
  { source, capture, known, captures }: CapturedVm,
  stored: VmBackupResult,
): Captured {
  const aboutMachine = findingsOf(capture);
  for (const finding of aboutMachine) tellFinding(run, finding);
  const together = captures.length > 1 ? captures.map(({ uuid }) => uuid) : undefined;
  return {
    item: options.item ?? known.item,
    kind: 'vm',
    sourcePath: source.path,
    roots: stored.roots,
    bytesRead: stored.bytesRead,
    findings: [...aboutMachine, ...stored.findings],
    manifest: { vm: { ...stored.manifest, together } },
    notes: notesOf(stored.manifest, known),
    keep: () => capture.keep(),
  };
}

function notesOf(
  { uuid, checkpoint, disks, swap = [] }: VmManifest,
  { sequence }: KnownMachine,
): VmNotes {
  const noted = disks.map(({ name, identities }) => ({ name, identities }));
  return { uuid, sequence, checkpoint, disks: noted, swap };
}

function findingsOf({ name, consistency, findings }: VmCapture): Finding[] {
  return [...consistencyFindings(name, consistency), ...findings];
}

/** That a guest has no agent is no news at each backup; that something failed is. */
function consistencyFindings(
  name: string,
  { isFailure, level, reason }: ReachedConsistency,
): Finding[] {
  if (!isFailure) return [];
  const subject = { kind: 'machine', name } as const;
  return [{ code: 'consistency-reduced', subject, details: { level, reason } }];
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
