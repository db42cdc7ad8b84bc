/** A token bucket, reckoned as the time at which all that was granted will have passed. */
import type { Clock } from '@coffer/base';
import { type Rate, RateSchedule } from './rate-schedule.ts';

/** What may pass at once after a pause, as time at the full rate. */
const BURST_MS = 100;

export class RateLimit {
  readonly #schedule: RateSchedule;
  readonly #clock: Clock;
  #freeAtMs = 0;

  constructor(rates: readonly Rate[], clock: Clock) {
    this.#schedule = new RateSchedule(rates);
    this.#clock = clock;
  }

  /** Waits until `sizeBytes` may pass. Those who come first go first. */
  async take(sizeBytes: number, signal?: AbortSignal): Promise<void> {
    const now = this.#clock.now();
    const startMs = Math.max(this.#freeAtMs, now - BURST_MS);
    const endMs = this.#schedule.passedAt(startMs, sizeBytes);
    this.#freeAtMs = endMs;
    if (endMs <= now) return;
    try {
      await this.#clock.sleep(endMs - now, signal);
    } catch (error) {
      // What was told to stop takes nothing.
      this.#freeAtMs -= endMs - startMs;
      throw error;
    }
  }
}
