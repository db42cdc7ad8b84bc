/** A unit of a replicated store: its failures say whose they are. */
import { CofferError, type ErrorCode } from '@coffer/base';
import type { CallOptions, ObjectInfo, ObjectStore } from '../object-store.ts';

/** A unit does not do its part: the operation goes on without it, when the set allows that. */
export class UnitFailure extends Error {
  override readonly name = 'UnitFailure';
  readonly unit: string;
  readonly failure: CofferError;

  constructor(unit: string, failure: CofferError) {
    super(`${unit}: ${failure.message}`, { cause: failure });
    this.unit = unit;
    this.failure = failure;
  }
}

/** What is an answer to who asked, and no fault of the unit. */
const ANSWERS: ReadonlySet<ErrorCode> = new Set([
  'object-exists',
  'object-not-found',
  'object-damaged',
  'object-name-invalid',
  'object-protected',
  'range-invalid',
  'store-append-only',
  'store-without-lock',
  'upload-damaged',
]);

/** The same store; what is its own fault, it fails with as `UnitFailure`. */
export function asUnit(name: string, store: ObjectStore): ObjectStore {
  const failed = (error: unknown, options: CallOptions | undefined): never => {
    options?.signal?.throwIfAborted();
    if (!(error instanceof CofferError) || ANSWERS.has(error.code)) throw error;
    throw new UnitFailure(name, error);
  };
  async function call<T>(options: CallOptions | undefined, made: () => Promise<T>): Promise<T> {
    return await made().catch((error: unknown) => failed(error, options));
  }
  async function* list(prefix: string, options?: CallOptions): AsyncGenerator<ObjectInfo> {
    try {
      yield* store.list(prefix, options);
    } catch (error) {
      failed(error, options);
    }
  }
  return {
    location: store.location,
    capabilities: store.capabilities,
    put: (...args) => call(args[2], () => store.put(...args)),
    putStream: (...args) => call(args[2], () => store.putStream(...args)),
    get: (...args) => call(args[1], () => store.get(...args)),
    getRange: (...args) => call(args[2], () => store.getRange(...args)),
    getInto: (...args) => call(args[3], () => store.getInto(...args)),
    stat: (...args) => call(args[1], () => store.stat(...args)),
    list,
    delete: (...args) => call(args[1], () => store.delete(...args)),
    protect: (...args) => call(args[2], () => store.protect(...args)),
    removeLeftovers: (...args) => call(args[1], () => store.removeLeftovers(...args)),
    close: () => store.close(),
  };
}

/**
 * Waits for all of them, also when one fails: no call goes on behind the back of who made it. What
 * is no failure of a unit is thrown before what is.
 */
export async function settled<T>(calls: readonly Promise<T>[]): Promise<T[]> {
  const outcomes = await Promise.allSettled(calls);
  const reasons = outcomes.flatMap((each) =>
    each.status === 'rejected' ? [each.reason as unknown] : [],
  );
  if (reasons.length > 0) {
    throw reasons.find((reason) => !(reason instanceof UnitFailure)) ?? reasons[0];
  }
  return outcomes.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
}
