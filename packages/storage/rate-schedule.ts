/** Rates by the hour of the day, in local time. Pure, but for the time zone of the host. */
import { assert } from '@coffer/base';

/** Minutes of a day; when it ends before it begins, it goes over midnight. */
export interface Hours {
  readonly fromMinute: number;
  readonly toMinute: number;
}

export interface Rate {
  readonly bytesPerSecondMax: number;
  /** Undefined: at all times that no other rate is for. */
  readonly hours?: Hours | undefined;
}

export const MINUTES_PER_DAY = 24 * 60;

export class RateSchedule {
  readonly #rates: readonly Rate[];

  /** Of several rates for one time the first counts; where there is none, nothing is limited. */
  constructor(rates: readonly Rate[]) {
    for (const { bytesPerSecondMax } of rates) assert(bytesPerSecondMax > 0, 'something passes');
    // What has hours goes before what has none.
    this.#rates = rates.toSorted((a, b) => Number(!a.hours) - Number(!b.hours));
  }

  /** When so many bytes will have passed that begin to at `startMs`, in ms since 1970. */
  passedAt(startMs: number, sizeBytes: number): number {
    let restBytes = sizeBytes;
    let nowMs = startMs;
    for (;;) {
      const bytesPerMs = this.#bytesPerMsAt(nowMs);
      if (bytesPerMs === undefined) return nowMs;
      const endMs = nowMs + restBytes / bytesPerMs;
      const changeMs = this.#changeAfter(nowMs);
      if (endMs <= changeMs) return endMs;
      restBytes -= (changeMs - nowMs) * bytesPerMs;
      nowMs = changeMs;
    }
  }

  #bytesPerMsAt(timeMs: number): number | undefined {
    const minute = minuteOfDay(new Date(timeMs));
    const rate = this.#rates.find(({ hours }) => !hours || isWithin(minute, hours));
    return rate === undefined ? undefined : rate.bytesPerSecondMax / 1000;
  }

  /** When a rate may begin or end next; never, when all of them are for all hours. */
  #changeAfter(timeMs: number): number {
    const minutes = this.#rates.flatMap(({ hours }) =>
      hours ? [hours.fromMinute, hours.toMinute] : [],
    );
    const changes = minutes.flatMap((minute) =>
      [0, 1].map((days) => atMinute(timeMs, minute, days)),
    );
    return Math.min(...changes.filter((change) => change > timeMs));
  }
}

function minuteOfDay(time: Date): number {
  return time.getHours() * 60 + time.getMinutes();
}

function isWithin(minute: number, { fromMinute, toMinute }: Hours): boolean {
  return fromMinute < toMinute
    ? minute >= fromMinute && minute < toMinute
    : minute >= fromMinute || minute < toMinute;
}

/** A minute of the day that a time is in, or of one that follows it. */
function atMinute(timeMs: number, minute: number, days: number): number {
  const day = new Date(timeMs);
  return new Date(day.getFullYear(), day.getMonth(), day.getDate() + days, 0, minute).getTime();
}
