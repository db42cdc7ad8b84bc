/**
 * The active sequence of the log: the newest entries that belong together, which have to be replayed
 * ([MS-VHDX] 2.3.2, 2.3.3). The log is a ring; sequences are found by looking at each sector of it.
 */
import { damaged, type Place } from './damage.ts';
import {
  decodeLogEntryHeader,
  decodeLogUpdates,
  isLogEntryIntact,
  type LogEntryHeader,
  type LogUpdate,
} from './log-entry-codec.ts';
import { LOG_SECTOR_BYTES } from './sizes.ts';

/**
 * Each sector may begin an entry that claims to be as long as the log. A log that was written by its
 * rules has each byte in one entry, or in two where it was written over.
 */
const CHECKED_LENGTHS_MAX = 4;

export interface LogEntry {
  /** From the beginning of the log. */
  readonly offset: number;
  readonly header: LogEntryHeader;
  readonly updates: readonly LogUpdate[];
}

/** The entries to replay, the oldest first. Fails with `image-damaged` when there are none. */
export function activeSequence(log: Buffer, logGuid: string, place: Place): readonly LogEntry[] {
  const reader = new LogReader(log, logGuid, place);
  let active: readonly LogEntry[] = [];
  for (let tail = 0; tail < log.length;) {
    const run = reader.runFrom(tail);
    const sequence = completeSequence(run);
    if (headNumber(sequence) > headNumber(active)) active = sequence;
    // What begins later in a run ends as the run does, so the run is passed as a whole.
    tail += Math.max(LOG_SECTOR_BYTES, lengthOf(run));
  }
  if (active.length === 0) throw damaged(place, 'no entry of the log is whole');
  return active;
}

/** From the entry that the last one names as the oldest; nothing when it is not in the run. */
function completeSequence(run: readonly LogEntry[]): readonly LogEntry[] {
  const start = run.findIndex(({ offset }) => offset === run.at(-1)?.header.tail);
  return start < 0 ? [] : run.slice(start);
}

function headNumber(sequence: readonly LogEntry[]): bigint {
  return sequence.at(-1)?.header.sequenceNumber ?? 0n;
}

function lengthOf(run: readonly LogEntry[]): number {
  return run.reduce((sum, { header }) => sum + header.length, 0);
}

class LogReader {
  readonly #log: Buffer;
  readonly #logGuid: string;
  readonly #place: Place;
  #checkedBytes = 0;

  constructor(log: Buffer, logGuid: string, place: Place) {
    this.#log = log;
    this.#logGuid = logGuid;
    this.#place = place;
  }

  /** Entries that follow each other in place and number. */
  runFrom(tail: number): LogEntry[] {
    const run: LogEntry[] = [];
    let length = 0;
    while (length < this.#log.length) {
      const entry = this.#entryAt((tail + length) % this.#log.length);
      if (!entry || length + entry.header.length > this.#log.length) break;
      if (length > 0 && entry.header.sequenceNumber !== headNumber(run) + 1n) break;
      run.push(entry);
      length += entry.header.length;
    }
    return run;
  }

  #entryAt(offset: number): LogEntry | undefined {
    const header = decodeLogEntryHeader(this.#log.subarray(offset), this.#log.length);
    if (header?.logGuid !== this.#logGuid) return undefined;
    this.#checkedBytes += header.length;
    if (this.#checkedBytes > CHECKED_LENGTHS_MAX * this.#log.length) {
      throw damaged(this.#place, 'the entries of the log lie in each other');
    }
    const bytes = this.#bytesAt(offset, header.length);
    if (!isLogEntryIntact(bytes)) return undefined;
    const updates = decodeLogUpdates(bytes, header);
    return updates && { offset, header, updates };
  }

  #bytesAt(offset: number, length: number): Buffer {
    const beyond = offset + length - this.#log.length;
    if (beyond <= 0) return this.#log.subarray(offset, offset + length);
    return Buffer.concat([this.#log.subarray(offset), this.#log.subarray(0, beyond)]);
  }
}
