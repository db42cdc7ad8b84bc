/**
 * What a capture of virtual machines gives: all disks at one moment, what has changed on them since
 * an earlier one, and what else the machines are made of.
 */
import type { Finding } from '@coffer/base';
import type { ByteRange, Disk } from '@coffer/disk/disk.ts';

/**
 * From best to worst. `application`: the guest's hooks ran and its file systems were frozen.
 * `file-system`: they were frozen. `crash`: as if the power had failed at that moment. `off`: the
 * machine did not run.
 */
export const CONSISTENCIES = ['application', 'file-system', 'crash', 'off'] as const;
export type Consistency = (typeof CONSISTENCIES)[number];

export interface ReachedConsistency {
  readonly level: Consistency;
  /** Why it is not better. */
  readonly reason: string | undefined;
  /** Something that was tried has failed, such as a script of the guest. */
  readonly isFailure: boolean;
  /** How long the guest's file systems were frozen, in ms. */
  readonly frozenMs: number;
}

export interface CapturedDisk {
  /** As the guest has it, for example `vda`. */
  readonly name: string;
  /** Of the image, for example `qcow2`. */
  readonly format: string;
  /** Where the image is on the host. */
  readonly path: string;
  /** Tell the files of the image, and of those that it lies on, from all others. */
  readonly identities: readonly string[];
  readonly disk: Disk;
  /** Since the base, in order; undefined when all has to be read. */
  readonly changes: AsyncIterable<ByteRange> | undefined;
  /** Why all has to be read. */
  readonly reason: string | undefined;
}

export const FILE_ROLES = ['nvram', 'kernel', 'initrd', 'tpm', 'memory'] as const;
export type FileRole = (typeof FILE_ROLES)[number];

/**
 * A file of the host that the machine needs: firmware variables, a kernel to boot, a TPM's state. Or
 * its memory, with which it goes on instead of booting.
 */
export interface CapturedFile {
  readonly name: string;
  readonly role: FileRole;
  readonly path: string;
}

export interface Checkpoint {
  readonly name: string;
  /** With it, another host knows the checkpoint when the machine has moved there. */
  readonly xml: string;
}

export interface VmCapture extends AsyncDisposable {
  readonly name: string;
  readonly uuid: string;
  /** The definition, with its secrets. */
  readonly xml: string;
  readonly consistency: ReachedConsistency;
  /** What later captures can be based on; undefined when no disk can be tracked. */
  readonly checkpoint: Checkpoint | undefined;
  readonly disks: readonly CapturedDisk[];
  readonly files: readonly CapturedFile[];
  readonly excluded: readonly { readonly name: string; readonly reason: string }[];
  /** What could be better about the machine. */
  readonly findings: readonly Finding[];

  /** Aborted, with the reason, when the capture cannot go on. */
  readonly signal: AbortSignal;

  /** Why reading has failed, where the machine knows more than its reader. */
  explain(error: unknown): Promise<unknown>;

  /** The point is stored: older checkpoints may go. Without it, this one goes with the capture. */
  keep(): Promise<void>;
}

/** What an earlier point of the same machine offers to be based on. */
export interface CaptureBase {
  readonly checkpoint: string;
  readonly checkpointXml: string | undefined;
  /** When that point was taken. */
  readonly takenAt: number;
  /** The disks then, by name. */
  readonly disks: ReadonlyMap<string, BaseOfDisk>;
}

export interface BaseOfDisk {
  readonly sizeBytes: number;
  readonly identities: readonly string[];
}
