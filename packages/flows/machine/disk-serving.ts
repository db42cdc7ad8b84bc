/**
 * Who serves the disks of a point to a machine that runs on them: a process that outlives the run
 * which starts it. An app knows how to start one.
 */
import type { RunContext } from '@coffer/base';
import type { InstantRecord } from './instant-record.ts';

/** What tells of a machine before there is a record of it. */
export type InstantPlace = Pick<InstantRecord, 'uuid' | 'repository'>;

/** One that was started: it ends when it is disposed, unless it was released before. */
export interface DiskServing extends AsyncDisposable {
  /** For its socket, which QEMU has to reach. */
  readonly runFolder: string;
  /** Resolves when it has found the record of the machine, and serves. Fails with `tool-failed`. */
  serves(run: RunContext): Promise<void>;
  /** From here on it goes on by itself. */
  release(): void;
}

export interface DiskServers {
  /** Whether somebody keeps serving for the machine. */
  isKept(record: InstantRecord): boolean;
  /** Resolves when whoever keeps it serves. Fails with `tool-failed`. */
  untilServed(run: RunContext, record: InstantRecord): Promise<void>;
  /** Begins to prepare all that it can. */
  start(place: InstantPlace): Promise<DiskServing>;
}
