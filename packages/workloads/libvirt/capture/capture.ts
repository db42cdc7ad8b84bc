/**
 * Captures a machine: freeze, backup job with checkpoint, thaw; then its disks are read over NBD while
 * the guest goes on. A capture is a scope: leaving it, in whatever way, ends the job, frees the scratch
 * space, and stops a machine that was started for it.
 *
 * Invariant: the checkpoint of a failed run goes with it, and that of the last good one stays.
 */
import { type Clock, CofferError, type Random } from '@coffer/base';
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
import { checkpointName, removeCheckpoint, removeOthers } from './checkpoints.ts';
import { endJob, isJobActive, isOwnJob } from './job.ts';
import { examine, type Machine } from './machine.ts';
import type { PlannedDisk } from './plan.ts';
import { thaw } from './quiescence.ts';
import { type ScratchWatch, watchScratch } from './scratch-watch.ts';
import { type Power, quiesced } from './quiesced.ts';
import {
  isLeftOver,
  isMarkedFrozen,
  liveOwner,
  makeRunFolder,
  removeRunFolder,
  type RunFolder,
  runFolderOf,
} from './run-folder.ts';

export interface CaptureOptions {
  readonly connection: LibvirtConnection;
  readonly domain: Domain;
  readonly base: CaptureBase | undefined;
  /** Disks that are left out, by target. */
  readonly exclude: readonly string[];
  /** Fails when less than that is reached; `best` takes what there is. */
  readonly demanded: Consistency | 'best';
  /** Where scratch files go: as large as what the guest overwrites during the backup. */
  readonly scratchFolder: string;
  readonly clock: Clock;
  readonly random: Random;
}

const NBD_CONNECT_TIMEOUT_MS = 20_000;
const NBD_REQUEST_TIMEOUT_MS = 120_000;
/** A bit of what QEMU says of a range in the context of a dirty bitmap. */
const DIRTY = 1;

/** Fails with `vm-busy`, `consistency-not-reached` and the codes of libvirt. */
export async function captureVm(options: CaptureOptions): Promise<VmCapture> {
  const { connection, clock } = options;
  await using scope = new AsyncDisposableStack();
  const folder = runFolderOf(options.scratchFolder, options.domain.uuid);
  await cleanLeftovers(options, folder);
  const { domain, power } = await running(options, scope);
  const machine = await examine({ ...options, domain });
  makeRunFolder(folder, [...machine.images.values()][0]);
  scope.defer(() => removeRunFolder(folder));
  const watch = scope.use(
    await watchScratch({ connection, domain, folder, wasRunning: power === 'running', clock }),
  );
  const checkpoint = checkpointName(options.random.bytes(8).toString('hex'));
  const definition = checkpointXml({ name: checkpoint, disks: trackedDisks(machine) });
  const consistency = await quiesced(
    {
      ...options,
      domain,
      power,
      hasAgent: machine.definition.guestAgent !== undefined,
      frozenMark: folder.frozenMark,
    },
    async () => {
      await connection.backupBegin(
        domain,
        backupXml(backupOf(options, machine, folder)),
        definition,
      );
      scope.defer(() => endJob(connection, domain, clock));
    },
  );
  const kept = new KeptCheckpoint(options, domain, definition && checkpoint);
  scope.defer(() => kept.removeUnlessKept());
  refuseLess(options, consistency);
  const disks: CapturedDisk[] = [];
  for (const planned of machine.plan)
    disks.push(await openDisk(options, machine, planned, { folder, scope }));
  return captured(machine, { consistency, disks, kept, watch, scope: scope.move() });
}

/** What a run that was killed has left: a job, a frozen guest, a folder. */
async function cleanLeftovers(
  { connection, domain, clock }: CaptureOptions,
  folder: RunFolder,
): Promise<void> {
  const { state } = await connection.state(domain);
  const isOff = state === 'shutoff';
  const processId = liveOwner(folder);
  if (processId !== undefined) throw new CofferError('vm-busy', { vm: domain.name, processId });
  if (isLeftOver(folder)) {
    if (!isOff && (await isOwnJob(connection, domain, folder.socketPath))) {
      await endJob(connection, domain, clock);
    }
    if (!isOff && isMarkedFrozen(folder)) await thaw(connection, domain, clock);
    removeRunFolder(folder);
  }
  if (!isOff && (await isJobActive(connection, domain))) {
    throw new CofferError('vm-busy', { vm: domain.name });
  }
}

/** A machine that is off is started without running, so that both are captured in one way. */
async function running(
  { connection, domain }: CaptureOptions,
  scope: AsyncDisposableStack,
): Promise<{ domain: Domain; power: Power }> {
  const { state } = await connection.state(domain);
  if (state !== 'shutoff') return { domain, power: state === 'running' ? 'running' : 'paused' };
  const created = await connection.create(domain, { paused: true });
  scope.defer(() => connection.destroy(created));
  return { domain: created, power: 'off' };
}

function trackedDisks({ definition, plan }: Machine): { target: string; isTracked: boolean }[] {
  return definition.disks.map(({ target }) => {
    const planned = plan.find((each) => each.target === target);
    return { target, isTracked: planned?.isTracked ?? false };
  });
}

function backupOf(
  { base }: CaptureOptions,
  { definition, plan }: Machine,
  folder: RunFolder,
): { socketPath: string; disks: BackupDisk[] } {
  const disks = definition.disks.map(({ target }): BackupDisk => {
    const planned = plan.find((each) => each.target === target);
    if (!planned) return { target, mode: 'none' };
    const exported = { target, exportName: target, scratchPath: folder.scratchPath(target) };
    if (planned.mode === 'full' || !base) return { ...exported, mode: 'full' };
    const exportBitmap = bitmapOf(target);
    return { ...exported, mode: 'incremental', base: base.checkpoint, exportBitmap };
  });
  return { socketPath: folder.socketPath, disks };
}

function bitmapOf(target: string): string {
  return `changed-${target}`;
}

/** Fails with `consistency-not-reached`. What was off has nothing that is not on its disks. */
function refuseLess(
  { demanded, domain }: CaptureOptions,
  { level, reason }: ReachedConsistency,
): void {
  if (demanded === 'best' || level === 'off') return;
  if (CONSISTENCIES.indexOf(level) <= CONSISTENCIES.indexOf(demanded)) return;
  throw new CofferError('consistency-not-reached', { vm: domain.name, demanded, level, reason });
}

async function openDisk(
  { clock }: CaptureOptions,
  { images, judgements }: Machine,
  { target, mode, reason }: PlannedDisk,
  { folder, scope }: { folder: RunFolder; scope: AsyncDisposableStack },
): Promise<CapturedDisk> {
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
  scope.defer(() => disk.close());
  return {
    name: target,
    format: judgements.find((each) => each.disk.target === target)?.disk.format ?? 'raw',
    path: images.get(target) ?? '',
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
class KeptCheckpoint {
  readonly name: string | undefined;
  readonly #options: CaptureOptions;
  readonly #domain: Domain;
  #isKept = false;

  constructor(options: CaptureOptions, domain: Domain, name: string | undefined) {
    this.#options = options;
    this.#domain = domain;
    this.name = name;
  }

  /** Older ones go, but that of the point before: should this point be lost, it is the base. */
  async keep(): Promise<void> {
    this.#isKept = true;
    const { connection, base } = this.#options;
    const names = [this.name, base?.checkpoint].filter((name) => name !== undefined);
    if (this.name !== undefined) await removeOthers(connection, this.#domain, new Set(names));
  }

  async removeUnlessKept(): Promise<void> {
    if (this.#isKept || this.name === undefined) return;
    await removeCheckpoint(this.#options.connection, this.#domain, this.name);
  }
}

function captured(
  { domain, definition, xml, judgements }: Machine,
  run: {
    consistency: ReachedConsistency;
    disks: readonly CapturedDisk[];
    kept: KeptCheckpoint;
    watch: ScratchWatch;
    scope: AsyncDisposableStack;
  },
): VmCapture {
  const { consistency, disks, kept, watch, scope } = run;
  const excluded = judgements.flatMap((judgement) =>
    judgement.protection === 'excluded'
      ? [{ name: judgement.disk.target, reason: judgement.text }]
      : [],
  );
  return {
    name: domain.name,
    uuid: domain.uuid,
    xml,
    consistency,
    checkpoint: kept.name,
    disks,
    files: filesOf(definition.boot),
    excluded,
    signal: watch.signal,
    keep: () => kept.keep(),
    [Symbol.asyncDispose]: () => scope.disposeAsync(),
  };
}

/** Files of the host that the machine cannot start without. */
function filesOf({ nvram, kernel, initrd }: Machine['definition']['boot']): CapturedFile[] {
  const files: CapturedFile[] = [];
  if (nvram !== undefined) files.push({ name: 'file-nvram', role: 'nvram', path: nvram });
  if (kernel !== undefined) files.push({ name: 'file-kernel', role: 'kernel', path: kernel });
  if (initrd !== undefined) files.push({ name: 'file-initrd', role: 'initrd', path: initrd });
  return files;
}
