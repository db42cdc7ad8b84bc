/**
 * How much a client has under way: a number of requests and the bytes that they hold. The receiver
 * waits for room before it takes the next request, so a client that sends without end, or never
 * reads its answers, costs no more memory than that.
 */
import { assert } from '@coffer/base';

export interface InFlightLimits {
  readonly countMax: number;
  /** One request alone may hold no more. */
  readonly bytesMax: number;
}

export class InFlight {
  readonly #limits: InFlightLimits;
  #count = 0;
  #bytes = 0;
  #waiting: { readonly bytes: number; readonly resolve: () => void } | undefined;

  constructor(limits: InFlightLimits) {
    this.#limits = limits;
  }

  /** Resolves when there is room for a request that holds so many bytes. One waits at a time. */
  async enter(bytes: number): Promise<void> {
    assert(!this.#waiting, 'one receiver waits for room');
    assert(bytes <= this.#limits.bytesMax, 'a request fits when nothing else is under way');
    if (!this.#hasRoomFor(bytes)) {
      await new Promise<void>((resolve) => (this.#waiting = { bytes, resolve }));
    }
    this.#count++;
    this.#bytes += bytes;
  }

  leave(bytes: number): void {
    this.#count--;
    this.#bytes -= bytes;
    const waiting = this.#waiting;
    if (!waiting || !this.#hasRoomFor(waiting.bytes)) return;
    this.#waiting = undefined;
    waiting.resolve();
  }

  #hasRoomFor(bytes: number): boolean {
    const { countMax, bytesMax } = this.#limits;
    return this.#count < countMax && this.#bytes + bytes <= bytesMax;
  }
}
