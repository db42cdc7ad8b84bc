/**
 * A store that fails by seed, over one that does not: for simulations. What it does is within the
 * contract: a failed put has left nothing or the whole object.
 */
import { type Clock, CofferError, type Random } from '@coffer/base';
import type {
  ByteRange,
  CallOptions,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  StreamOptions,
} from '../object-store.ts';
import { checkName } from '../checks.ts';
import { gathered, withheld } from '../withheld.ts';

export interface FaultyOptions {
  readonly random: Random;
  readonly clock: Clock;
  /** How likely a call fails before it has an effect, from 0 to 1. */
  readonly errorBefore?: number;
  /** How likely a call fails after its effect: the caller cannot tell. */
  readonly errorAfter?: number;
  /** How likely a put seems to fail, and comes to effect later all the same. */
  readonly putsLate?: number;
  /** How late at most. */
  readonly lateMsMax?: number;
  /** Calls take up to so long before and after their effect. */
  readonly delayMsMax?: number;
}

export interface FaultyStore extends ObjectStore {
  /** The process behind this handle dies: calls under way and all later ones fail for ever. */
  crash(): void;
}

/** What calls of a dead process fail with: no code, so that nothing retries or explains it. */
export class CrashedError extends Error {
  override readonly name = 'CrashedError';
}

export function faulty(store: ObjectStore, options: FaultyOptions): FaultyStore {
  return new Faulty(store, options);
}

class Faulty implements FaultyStore {
  readonly location: string;
  readonly capabilities;
  readonly #store: ObjectStore;
  readonly #options: Required<FaultyOptions>;
  #crashed = false;

  constructor(store: ObjectStore, options: FaultyOptions) {
    this.location = store.location;
    this.capabilities = store.capabilities;
    this.#store = store;
    this.#options = {
      errorBefore: 0,
      errorAfter: 0,
      putsLate: 0,
      lateMsMax: 0,
      delayMsMax: 0,
      ...options,
    };
  }

  crash(): void {
    this.#crashed = true;
  }

  async put(name: string, bytes: Uint8Array, options?: CallOptions): Promise<void> {
    const { random, putsLate } = this.#options;
    if (random.fraction() < putsLate) {
      this.#dieIfCrashed();
      void this.#putLate(name, Buffer.from(bytes));
      throw simulatedError();
    }
    await this.#call(options, () => this.#store.put(name, bytes, options));
  }

  /** As a put of the whole, so that it is late as often. */
  async putStream(
    name: string,
    source: AsyncIterable<Uint8Array>,
    options: StreamOptions,
  ): Promise<void> {
    checkName(name);
    options.signal?.throwIfAborted();
    await this.put(name, await gathered(withheld(name, source, options)), options);
  }

  get(name: string, options: GetOptions): Promise<Buffer> {
    return this.#call(options, () => this.#store.get(name, options));
  }

  getRange(name: string, range: ByteRange, options?: CallOptions): Promise<Buffer> {
    return this.#call(options, () => this.#store.getRange(name, range, options));
  }

  getInto(name: string, offset: number, target: Uint8Array, options?: CallOptions): Promise<void> {
    return this.#call(options, () => this.#store.getInto(name, offset, target, options));
  }

  stat(name: string, options?: CallOptions): Promise<ObjectInfo | undefined> {
    return this.#call(options, () => this.#store.stat(name, options));
  }

  async *list(prefix: string, options?: CallOptions): AsyncGenerator<ObjectInfo> {
    await this.#before(options);
    let untilError = this.#entriesUntilError();
    for await (const info of this.#store.list(prefix, options)) {
      yield info;
      this.#dieIfCrashed();
      if (--untilError === 0) throw simulatedError();
    }
  }

  delete(name: string, options?: CallOptions): Promise<void> {
    return this.#call(options, () => this.#store.delete(name, options));
  }

  protect(name: string, untilMs: number, options?: CallOptions): Promise<void> {
    return this.#call(options, () => this.#store.protect(name, untilMs, options));
  }

  removeLeftovers(olderThanMs: number, options?: CallOptions): Promise<void> {
    return this.#call(options, () => this.#store.removeLeftovers(olderThanMs, options));
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  /** What the network has kept comes to effect, whatever became of who sent it. */
  async #putLate(name: string, bytes: Buffer): Promise<void> {
    const { clock, random, lateMsMax } = this.#options;
    await clock.sleep(random.fraction() * lateMsMax);
    try {
      await this.#store.put(name, bytes);
    } catch {
      // Another put of the name was faster.
    }
  }

  async #call<T>(options: CallOptions | undefined, call: () => Promise<T>): Promise<T> {
    await this.#before(options);
    const result = await call();
    await this.#after(options);
    return result;
  }

  async #before(options: CallOptions | undefined): Promise<void> {
    this.#dieIfCrashed();
    await this.#delay(options);
    this.#fail(this.#options.errorBefore);
  }

  async #after(options: CallOptions | undefined): Promise<void> {
    await this.#delay(options);
    this.#fail(this.#options.errorAfter);
  }

  async #delay(options: CallOptions | undefined): Promise<void> {
    const { clock, random, delayMsMax } = this.#options;
    if (delayMsMax > 0) await clock.sleep(random.fraction() * delayMsMax, options?.signal);
    this.#dieIfCrashed();
  }

  /** A list breaks after an entry, a late one less likely than an early one; mostly after none. */
  #entriesUntilError(): number {
    const { random, errorAfter } = this.#options;
    return random.fraction() < errorAfter ? Math.ceil(1 / random.fraction()) : Infinity;
  }

  #fail(probability: number): void {
    if (this.#options.random.fraction() < probability) throw simulatedError();
  }

  #dieIfCrashed(): void {
    if (this.#crashed) throw new CrashedError('this process has crashed');
  }
}

function simulatedError(): CofferError {
  return new CofferError('store-unavailable', { reason: 'simulated' });
}
