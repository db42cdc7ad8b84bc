/** What libvirt answers, as callers see it. */
import { type Parameters } from './structures-codec.ts';

/** virDomainState, in the order of its numbers. */
export const STATES = [
  'nostate',
  'running',
  'blocked',
  'paused',
  'shutdown',
  'shutoff',
  'crashed',
  'pmsuspended',
] as const;

export interface DomainState {
  readonly state: (typeof STATES)[number];
  /** A number whose meaning depends on the state. */
  readonly reason: number;
}

/** The reason of `paused` after a disk could not be written. */
export const PAUSED_BY_IO_ERROR = 5;

/** virDomainJobType, in the order of its numbers. */
export const JOB_TYPES = [
  'none',
  'bounded',
  'unbounded',
  'completed',
  'failed',
  'cancelled',
] as const;

export interface JobStats {
  /** `none` when no job runs. */
  readonly type: (typeof JOB_TYPES)[number];
  readonly values: Parameters;
}

export interface Checkpoint {
  readonly name: string;
  readonly parent: string | undefined;
}

export interface BlockInfo {
  readonly capacityBytes: number;
  /** The highest place that is in use. */
  readonly allocationBytes: number;
  readonly physicalBytes: number;
}

export interface BlockStats {
  readonly readCount: number;
  readonly readBytes: number;
  readonly writeCount: number;
  readonly writeBytes: number;
  readonly errorCount: number;
}

export interface Screenshot {
  readonly mime: string;
  readonly bytes: Buffer;
}

export interface StoragePool {
  readonly name: string;
  readonly active: boolean;
  readonly targetPath: string | undefined;
}
