/** Where virtual machines are restored to. */
import type { Finding, RunContext } from '@coffer/base';

export interface DiskImage {
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
}

export interface RestoredVm {
  /** The definition as it was captured. */
  readonly xml: string;
  readonly name: string;
  /** Of the new machine; undefined to keep that of the original, with its MACs. */
  readonly uuid: string | undefined;
  /** The images that were restored, by the names that the guest knows their disks by. */
  readonly disks: ReadonlyMap<string, DiskImage>;
  /** Other files that were restored: new paths by their old ones. */
  readonly files: ReadonlyMap<string, string>;
  /** The machine pauses where an image cannot be read, instead of seeing errors. */
  readonly pausesOnError?: boolean;
}

/** Why a machine cannot be what it was, or cannot be at all, on a host. */
export interface Misfit {
  readonly kind:
    | 'name'
    | 'identity'
    | 'architecture'
    | 'machine'
    | 'processor'
    | 'network'
    /** It is forgotten when it is stopped. */
    | 'transient'
    /** A disk that cannot be given another content where it is. */
    | 'disk'
    /** One that can be replaced by a new image, and not changed in place. */
    | 'disk-in-place';
  readonly message: string;
}

/** A machine that the host has. */
export interface KnownVm {
  readonly name: string;
  readonly uuid: string;
  readonly isOff: boolean;
  /** It is off, and goes on with its saved memory at its next start, which needs its disks as they are. */
  readonly isSaved: boolean;
  /** It is forgotten when it stops. */
  readonly isTransient: boolean;
  /** By name, without drives for media. */
  readonly disks: ReadonlyMap<string, KnownDisk>;
  /** The file of its UEFI variables, without symbolic links; undefined where it has none. */
  readonly nvramPath: string | undefined;
  /** It has an emulated TPM. */
  readonly hasTpm: boolean;
  /** Of the state of the TPM; undefined where that is where libvirt puts it. */
  readonly tpmFolder: string | undefined;
}

/** The image of a disk, as the machine has it now. */
export interface KnownDisk {
  /** A `file` or a `device` of the host; an `other`, such as one on a server, cannot be written. */
  readonly kind: 'file' | 'device' | 'other';
  /** Of a file, without symbolic links. Of an `other`, what people call it. */
  readonly path: string;
  readonly format: string;
  /** As the guest sees it; undefined where nobody can tell. */
  readonly sizeBytes: number | undefined;
  /** It is opened with a secret. */
  readonly isEncrypted: boolean;
  /** What the guest writes is in another file than the image. */
  readonly hasDataFile: boolean;
  /** The storage pool that it is a volume of. */
  readonly pool: string | undefined;
}

/** A machine on trial. */
export interface VmTrial extends AsyncDisposable {
  readonly hasAgent: boolean;
  readonly hasScreen: boolean;
  isRunning(): Promise<boolean>;
  /** True when the agent in the guest answers. */
  isAnswering(): Promise<boolean>;
  /** Runs a command of the shell in the guest; undefined when it takes longer. */
  run(
    run: RunContext,
    command: string,
    timeoutMs: number,
  ): Promise<{ readonly exitCode: number | undefined; readonly output: string } | undefined>;
  screen(): Promise<Picture>;
}

/** What was on a screen. */
export interface Picture {
  toPng(): Buffer;
  /** The part of it, from 0 to 1, that was otherwise before. */
  changedPart(before: Picture): number;
}

export interface VmHost {
  /** All that does not fit. Nothing is changed. */
  misfits(vm: Pick<RestoredVm, 'xml' | 'name' | 'uuid'>): Promise<readonly Misfit[]>;

  /** Makes the machine known, and returns its UUID and what it has not, or has otherwise. */
  define(vm: RestoredVm): Promise<{ readonly uuid: string; readonly findings: readonly Finding[] }>;

  /** Makes a machine known as it was, with all paths that it had. */
  defineAgain(xml: string): Promise<void>;

  find(uuid: string): Promise<KnownVm | undefined>;

  /** What a machine that is gone would be here, by its definition. */
  read(xml: string): Promise<KnownVm>;

  /** Names of other machines that use any of these files or devices, by path. */
  othersUsing(uuid: string, paths: readonly string[]): Promise<ReadonlyMap<string, string>>;

  start(uuid: string): Promise<void>;

  /** Starts a machine with the memory that was captured with its disks: it goes on where it was. */
  goOn(uuid: string, memoryPath: string): Promise<void>;

  /** Asks the guest to shut down, and cuts its power when it does not within a minute. */
  stop(run: RunContext, uuid: string): Promise<void>;

  /** Forgets what tracked changes of images that are others now. */
  forgetTracking(uuid: string): Promise<void>;

  /** Ends a machine, and forgets it with its firmware variables; its images stay. */
  remove(uuid: string): Promise<void>;

  /**
   * Lets a machine go on that pauses because an image could not be read; tells what it does. Undefined
   * when there is no such machine.
   */
  resumeAfterError(uuid: string): Promise<'running' | 'paused' | 'off' | undefined>;

  /**
   * Moves a disk to a new image while the machine runs; what an interrupted move has left of it is
   * replaced. Tells how much is moved.
   */
  moveDisk(run: RunContext, uuid: string, disk: string, to: DiskImage): Promise<void>;

  /** Starts a machine that reaches nothing, and that ends with the trial, however that ends. */
  startTrial(vm: RestoredVm): Promise<VmTrial>;

  /** Why machines of the host could not use files in a folder, or in one that is made for it. */
  folderProblems(folder: string): Promise<readonly string[]>;

  /** Makes files usable for the machines of the host. */
  giveFiles(paths: readonly string[]): Promise<void>;

  /** The folder of a storage pool. Fails with `target-unfit` when it has none, or is not active. */
  poolFolder(pool: string): Promise<string>;

  /** Tells a storage pool that it has new volumes. */
  refreshPool(pool: string): Promise<void>;
}
