/**
 * Captures machines: hold the guests, begin a backup job with a checkpoint, let the guests go; then
 * the disks are read over NBD while the guests go on. Several machines are captured at one moment:
 * all are held, then all checkpoints are made, then all are let go. So what one guest has told another
 * is on the disks of both, or of none.
 *
 * A capture is a scope: leaving it, in whatever way, ends the job, frees the scratch space, and stops
 * a machine that was started for it.
 *
 * Invariant: the checkpoint of a failed run goes with it, and that of the last good one stays.
 */
import {
  afterFailure,
  CofferError,
  type Finding,
  isCofferError,
  mapBounded,
  type RunContext,
} from '@coffer/base';
import type { ByteRange } from '@coffer/disk/disk.ts';
import { unixAddress } from '@coffer/disk/nbd/address.ts';
import { type NbdDisk, openNbdDisk } from '@coffer/disk/nbd/nbd-disk.ts';
import {
  type CaptureBase,
  type CapturedDisk,
  type CapturedFile,
  CONSISTENCIES,
  type Consistency,
  type ReachedConsistency,
  type VmCapture,
} from '../../vm-capture.ts';
import type { Domain, LibvirtConnection } from '../connection.ts';
import { type BackupDisk, backupXml, checkpointXml } from '../domain/backup-xml.ts';
import type { DiskJudgement } from '../domain/protectable.ts';
import { qemuUserOf } from '../host/qemu-user.ts';
import { checkpointPrefix, removeCheckpoint, removeOthers, removeStray } from './checkpoints.ts';
import { filesOf } from './files.ts';
import { type HeldGuest, holdGuest, type Power } from './hold.ts';
import { endBackup, endJob } from './job.ts';
import { cleanLeftovers } from './leftovers.ts';
import { examine, type Machine } from './machine.ts';
import { type CapturedMemory, captureMemory } from './memory.ts';
import type { PlannedDisk } from './plan.ts';
import { running } from './power.ts';
import { RunFolder } from './run-folder.ts';
import { estimateScratchBytes } from './scratch-estimate.ts';
import { freeBytesOf, type ScratchWatch, watchScratch } from './scratch-watch.ts';

/** A machine to capture. */
export interface CaptureOptions {
  readonly connection: LibvirtConnection;
  /** Opens another one, when that has ended before all of the capture is given back. */
  readonly reconnect: () => Promise<LibvirtConnection>;
  readonly domain: Domain;
  readonly base: CaptureBase | undefined;
  /** Disks that are left out, by target. */
  readonly exclude: readonly string[];
  /** Fails when less than that is reached; `best` takes what there is. */
  readonly demanded: Consistency | 'best';
  /** Pauses a guest that cannot be frozen. */
  readonly pauses: boolean;
  /** Also captures the memory of a machine that runs; it is held still until that is written. */
  readonly memory: boolean;
  /** Where scratch files go: as large as what the guest overwrites during the backup. */
  readonly scratchFolder: string;
  readonly scratchBytesMax: number;
  /** How long a job of someone else is waited for. */
  readonly waitMs: number;
  /** Whose checkpoints these are: repositories that protect one machine must not mix theirs. */
  readonly repositoryId: string;
}

/** With what its run gives. */
type Capturing = CaptureOptions & Pick<RunContext, 'clock' | 'random' | 'signal'>;

const MACHINES_AT_ONCE = 4;
const NBD_CONNECT_TIMEOUT_MS = 20_000;
const NBD_REQUEST_TIMEOUT_MS = 120_000;
/** A bit of what QEMU says of a range in the context of a dirty bitmap. */
const DIRTY = 1;

/**
 * In the order of the machines. Fails with `vm-busy`, `vm-saved`, `scratch-full`,
 * `consistency-not-reached` and the codes of libvirt; then nothing is captured.
 */
export async function captureVms(
  { clock, random, signal }: RunContext,
  machines: readonly CaptureOptions[],
): Promise<VmCapture[]> {
  await using scope = new AsyncDisposableStack();
  const runs: CaptureRun[] = [];
  // One after the other: whatever was prepared is undone when the next one fails.
  for (const options of machines) {
    runs.push(scope.use(await CaptureRun.prepare({ ...options, clock, random, signal })));
  }
  signal.throwIfAborted();
  const reached = await atOneMoment(runs);
  const captures = await mapBounded(runs.entries(), MACHINES_AT_ONCE, async ([index, run]) =>
    run.open(reached[index]!),
  );
  scope.move();
  return captures;
}

/** Whatever happens in the moment, all guests are let go after it. */
async function atOneMoment(runs: readonly CaptureRun[]): Promise<ReachedConsistency[]> {
  const held = await Promise.allSettled(runs.map((run) => run.hold()));
  const guests = held.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  const areAllHeld = guests.length === runs.length;
  const begun = areAllHeld
    ? await Promise.allSettled(runs.map((run, index) => run.begin(guests[index]!)))
    : [];
  const released = await Promise.allSettled(guests.map((guest) => guest.release()));
  valuesOf(held);
  valuesOf(begun);
  return valuesOf(released);
}

/** Throws the first failure. */
function valuesOf<T>(results: readonly PromiseSettledResult<T>[]): T[] {
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
}

/** The capture of one machine on its way. */
class CaptureRun implements AsyncDisposable {
  readonly #options: Capturing;
  readonly #power: Power;
  readonly #machine: Machine;
  readonly #folder: RunFolder;
  readonly #watch: ScratchWatch;
  readonly #scope: AsyncDisposableStack;
  readonly #checkpoint: NewCheckpoint;

  private constructor(options: Capturing, prepared: Prepared, scope: AsyncDisposableStack) {
    this.#options = { ...options, domain: prepared.machine.domain };
    this.#power = prepared.power;
    this.#machine = prepared.machine;
    this.#folder = prepared.folder;
    this.#watch = prepared.watch;
    this.#scope = scope;
    this.#checkpoint = new NewCheckpoint(this.#options, prepared.machine);
  }

  static async prepare(options: Capturing): Promise<CaptureRun> {
    const { connection, domain, scratchFolder, clock, scratchBytesMax, signal } = options;
    await using scope = new AsyncDisposableStack();
    const folder = new RunFolder(scratchFolder, domain.uuid);
    const left = await cleanLeftovers({
      connection,
      domain,
      clock,
      signal,
      folder,
      waitMs: options.waitMs,
    });
    folder.make(await qemuUserOf(connection));
    if (left) folder.markFrozen(domain, left.selfThawsAt);
    scope.defer(() => folder.leave());
    const { domain: live, power } = await running(options, folder, scope);
    const prefix = checkpointPrefix(options.repositoryId);
    const machine = await examine({ ...options, domain: live, checkpointPrefix: prefix });
    refuseScarceScratch({ ...options, memory: options.memory && power !== 'off' }, machine, folder);
    const wasRunning = power === 'running';
    const watched = { connection, domain: live, folder, scratchBytesMax, wasRunning, clock };
    const watch = scope.use(await watchScratch(watched));
    return new CaptureRun(options, { power, machine, folder, watch }, scope.move());
  }

  async hold(): Promise<HeldGuest> {
    const hasAgent = this.#machine.definition.guestAgent !== undefined;
    return await holdGuest({
      ...this.#options,
      power: this.#power,
      hasAgent,
      folder: this.#folder,
    });
  }

  async begin(guest: HeldGuest): Promise<void> {
    const { connection, domain, clock } = this.#options;
    const memory = this.#capturesMemory ? await this.#saveMemory(guest) : undefined;
    const disks = backupDisks(this.#options, this.#machine, this.#folder);
    const backup = backupXml({ socketPath: this.#folder.socketPath, disks });
    await connection.backupBegin(domain, backup, this.#checkpoint.definition);
    // The job ends first: while it runs, its checkpoint is in use.
    this.#scope.defer(() => this.#checkpoint.removeUnlessKept());
    const end = this.#power === 'running' ? endBackup : endJob;
    this.#scope.defer(() => end(connection, domain, clock));
    await memory?.refuseOther();
  }

  async #saveMemory(guest: HeldGuest): Promise<CapturedMemory> {
    const { definition } = this.#machine;
    const path = this.#folder.memoryPath;
    return await captureMemory({ ...this.#options, definition, path, isFrozen: guest.isFrozen });
  }

  async open(consistency: ReachedConsistency): Promise<VmCapture> {
    refuseLess(this.#options, consistency);
    const disks: CapturedDisk[] = [];
    for (const planned of this.#machine.plan) {
      const disk = await openDisk(this.#options, this.#machine, planned, this.#folder);
      this.#scope.defer(() => disk.disk.close());
      disks.push(disk);
    }
    const { domain, xml, judgements } = this.#machine;
    return {
      name: domain.name,
      uuid: domain.uuid,
      xml,
      consistency,
      checkpoint: await this.#checkpoint.describe(),
      disks,
      files: this.#files(),
      excluded: judgements.flatMap((judgement) =>
        judgement.protection === 'excluded'
          ? [{ name: judgement.disk.target, reason: judgement.text }]
          : [],
      ),
      findings: outdatedImages(domain.name, judgements),
      signal: this.#watch.signal,
      explain: (error) => this.#explain(error),
      keep: () => this.#checkpoint.keep(),
      [Symbol.asyncDispose]: () => this[Symbol.asyncDispose](),
    };
  }

  get #capturesMemory(): boolean {
    return this.#options.memory && this.#power !== 'off';
  }

  #files(): CapturedFile[] {
    const files = filesOf(this.#machine.definition);
    if (!this.#capturesMemory) return files;
    return [...files, { name: 'file-memory', role: 'memory', path: this.#folder.memoryPath }];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#scope.disposeAsync();
    } catch (error) {
      if (!this.#options.connection.ended.aborted) throw error;
      await afterFailure(error, () => this.#cleanUpAgain());
    }
  }

  /** As the next run would do it, which may be long after this one. */
  async #cleanUpAgain(): Promise<void> {
    const connection = await this.#options.reconnect();
    try {
      const { domain } = this.#options;
      // Whatever ended the run: who cleans up has its own time.
      const { signal } = new AbortController();
      const { clock, waitMs } = this.#options;
      const left = await cleanLeftovers({
        connection,
        domain,
        clock,
        signal,
        folder: this.#folder,
        waitMs,
      });
      if (!left) return;
      this.#folder.make(undefined);
      this.#folder.markFrozen(domain, left.selfThawsAt);
      this.#folder.leave();
    } finally {
      await connection.close();
    }
  }

  /** Exports end with the machine, before libvirt tells so. */
  async #explain(error: unknown): Promise<unknown> {
    const { signal } = this.#watch;
    if (signal.aborted) return signal.reason;
    if (!isCofferError(error)) return error;
    const { connection, domain } = this.#options;
    const { state } = await connection.state(domain).catch(() => ({ state: 'nostate' }));
    const hasStopped = ['shutdown', 'shutoff', 'crashed'].includes(state);
    return hasStopped ? new CofferError('vm-stopped', { vm: domain.name }, error) : error;
  }
}

interface Prepared {
  readonly power: Power;
  readonly machine: Machine;
  readonly folder: RunFolder;
  readonly watch: ScratchWatch;
}

/** That an image is raw is a choice; that it is of an old version has only not been noticed. */
function outdatedImages(vm: string, judgements: readonly DiskJudgement[]): Finding[] {
  return judgements.flatMap((judgement) => {
    if (judgement.protection !== 'full-compare' || !judgement.isOutdated) return [];
    const { disk, text, remedy } = judgement;
    const subject = { kind: 'disk', name: `${vm} ${disk.target}` } as const;
    return [{ code: 'image-outdated', subject, details: { reason: text, remedy } }];
  });
}

/** Fails with `scratch-full`. */
function refuseScarceScratch(
  { base, clock, scratchBytesMax, domain, memory }: Capturing,
  { plan, disks, definition }: Machine,
  { path }: RunFolder,
): void {
  const sums = { readBytes: 0, dirtyBytes: 0, allocatedBytes: 0 };
  for (const { target, mode } of plan) {
    const { allocatedBytes = 0, dirtyBytes = 0 } = disks.get(target) ?? {};
    sums.readBytes += mode === 'full' ? allocatedBytes : dirtyBytes;
    sums.dirtyBytes += dirtyBytes;
    sums.allocatedBytes += allocatedBytes;
  }
  const isCounted = base !== undefined && plan.every(({ mode }) => mode === 'incremental');
  const memoryBytes = memory ? definition.memory.sizeBytes : 0;
  const scratchBytes = estimateScratchBytes({
    ...sums,
    dirtyBytes: isCounted ? sums.dirtyBytes : undefined,
    dirtyForMs: base ? clock.now() - base.takenAt : 0,
  });
  const needs = scratchBytes + memoryBytes;
  const has = Math.min(freeBytesOf(path), scratchBytesMax);
  if (has < needs) throw new CofferError('scratch-full', { vm: domain.name, path, has, needs });
}

function backupDisks(
  { base }: Capturing,
  { definition, plan }: Machine,
  folder: RunFolder,
): BackupDisk[] {
  return definition.disks.map(({ target }): BackupDisk => {
    const planned = plan.find((each) => each.target === target);
    if (!planned) return { target, mode: 'none' };
    const exported = { target, exportName: target, scratchPath: folder.scratchPath(target) };
    if (planned.mode === 'full' || !base) return { ...exported, mode: 'full' };
    const exportBitmap = bitmapOf(target);
    return { ...exported, mode: 'incremental', base: base.checkpoint, exportBitmap };
  });
}

function bitmapOf(target: string): string {
  return `changed-${target}`;
}

/** Fails with `consistency-not-reached`. What was off has nothing that is not on its disks. */
function refuseLess({ demanded, domain }: Capturing, { level, reason }: ReachedConsistency): void {
  if (demanded === 'best' || level === 'off') return;
  if (CONSISTENCIES.indexOf(level) <= CONSISTENCIES.indexOf(demanded)) return;
  throw new CofferError('consistency-not-reached', { vm: domain.name, demanded, level, reason });
}

async function openDisk(
  { clock }: Capturing,
  { disks }: Machine,
  { target, mode, reason }: PlannedDisk,
  folder: RunFolder,
): Promise<CapturedDisk> {
  const { path, format, identities } = disks.get(target)!;
  const context = `qemu:dirty-bitmap:${bitmapOf(target)}`;
  const isIncremental = mode === 'incremental';
  const disk = await openNbdDisk({
    address: unixAddress(folder.socketPath, target),
    tls: undefined,
    writable: false,
    contexts: isIncremental ? [context] : [],
    connectTimeoutMs: NBD_CONNECT_TIMEOUT_MS,
    requestTimeoutMs: NBD_REQUEST_TIMEOUT_MS,
    reconnectTimeoutMs: 0,
    clock,
  });
  return {
    name: target,
    format,
    path,
    identities,
    disk,
    changes: isIncremental ? dirtyRanges(disk, context) : undefined,
    reason,
  };
}

async function* dirtyRanges(disk: NbdDisk, context: string): AsyncGenerator<ByteRange> {
  const whole = { offset: 0, length: disk.sizeBytes };
  for await (const { offset, length, flags } of disk.contextExtents(context, whole)) {
    if ((flags & DIRTY) !== 0) yield { offset, length };
  }
}

/** The checkpoint of this run, which stays only when the run ends well. */
class NewCheckpoint {
  /** Undefined when no disk is tracked. */
  readonly definition: string | undefined;
  readonly #name: string;
  readonly #prefix: string;
  readonly #options: Capturing;
  #isKept = false;

  constructor(options: Capturing, { definition, plan }: Machine) {
    this.#options = options;
    this.#prefix = checkpointPrefix(options.repositoryId);
    this.#name = this.#prefix + options.random.bytes(8).toString('hex');
    const tracked = new Set(plan.filter(({ isTracked }) => isTracked).map(({ target }) => target));
    const disks = definition.disks.map(({ target }) => ({
      target,
      isTracked: tracked.has(target),
    }));
    this.definition = checkpointXml({ name: this.#name, disks });
  }

  async describe(): Promise<VmCapture['checkpoint']> {
    if (this.definition === undefined) return undefined;
    const { connection, domain } = this.#options;
    return { name: this.#name, xml: await connection.checkpointXml(domain, this.#name) };
  }

  /** Older ones go, but that of the point before: should this point be lost, it is the base. */
  async keep(): Promise<void> {
    this.#isKept = true;
    if (this.definition === undefined) return;
    const { connection, domain, base } = this.#options;
    const keep = new Set([this.#name, ...(base ? [base.checkpoint] : [])]);
    const prefix = this.#prefix;
    await removeOthers(connection, domain, { prefix, keep });
    await removeStray(connection, domain, { prefix });
  }

  async removeUnlessKept(): Promise<void> {
    if (this.#isKept || this.definition === undefined) return;
    await removeCheckpoint(this.#options.connection, this.#options.domain, this.#name);
  }
}
