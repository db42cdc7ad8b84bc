/** Units that are away, slow, or out of the reach of one process: for simulations. */
import { type Clock, CofferError, type Random } from '@coffer/base';
import type { ObjectStore } from '../object-store.ts';

/** The state of one unit, as all processes meet it. */
export class Weather {
  readonly #clock: Clock;
  #downUntil = 0;
  #slowUntil = 0;
  #delayMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  down(durationMs: number): void {
    this.#downUntil = this.#clock.now() + durationMs;
  }

  slow(durationMs: number, delayMs: number): void {
    this.#slowUntil = this.#clock.now() + durationMs;
    this.#delayMs = delayMs;
  }

  clear(): void {
    this.#downUntil = 0;
    this.#slowUntil = 0;
  }

  /** Before each call, and after it: the unit may have gone while it was at work. */
  async meet(random: Random): Promise<void> {
    const now = this.#clock.now();
    if (now < this.#slowUntil) await this.#clock.sleep(random.fraction() * this.#delayMs);
    if (this.#clock.now() < this.#downUntil) {
      throw new CofferError('store-unavailable', { reason: 'simulated outage' });
    }
  }
}

export interface OutageOptions {
  readonly weather: Weather;
  readonly random: Random;
  /** This process does not reach it at all. */
  readonly isCutOff?: boolean;
}

export function withOutages(store: ObjectStore, options: OutageOptions): ObjectStore {
  const { weather, random, isCutOff = false } = options;
  const meet = async (): Promise<void> => {
    if (isCutOff) throw new CofferError('store-unavailable', { reason: 'simulated partition' });
    await weather.meet(random);
  };
  return new Proxy(store, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property);
      if (typeof value !== 'function' || property === 'close') return value;
      if (property === 'list') {
        return async function* (...args: Parameters<ObjectStore['list']>) {
          await meet();
          for await (const info of target.list(...args)) {
            yield info;
            await meet();
          }
        };
      }
      return async (...args: unknown[]): Promise<unknown> => {
        await meet();
        const result: unknown = await Reflect.apply(value, target, args);
        await meet();
        return result;
      };
    },
  });
}
