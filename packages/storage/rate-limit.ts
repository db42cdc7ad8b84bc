/** A token bucket, reckoned as the time at which all that was granted will have passed. */
import { type Clock, assert } from '@coffer/base';

/** What may pass at once after a pause, as time at the full rate. */
const BURST_MS = 100;

export class RateLimit {
  readonly #bytesPerMs: number;
  readonly #clock: Clock;
  #freeAtMs = 0;

  constructor(bytesPerSecondMax: number, clock: Clock) {
    assert(bytesPerSecondMax > 0, 'something passes');
    this.#bytesPerMs = bytesPerSecondMax / 1000;
    this.#clock = clock;
  }

  /** Waits until `sizeBytes` may pass. Those who come first go first. */
  async take(sizeBytes: number, signal?: AbortSignal): Promise<void> {
    const now = this.#clock.now();
    const durationMs = sizeBytes / this.#bytesPerMs;
    this.#freeAtMs = Math.max(this.#freeAtMs, now - BURST_MS) + durationMs;
    if (this.#freeAtMs <= now) return;
    try {
      await this.#clock.sleep(this.#freeAtMs - now, signal);
    } catch (error) {
      // What was told to stop takes nothing.
      this.#freeAtMs -= durationMs;
      throw error;
    }
  }
}
