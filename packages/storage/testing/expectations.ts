/** What tests of stores ask and expect again and again. */
import assert from 'node:assert/strict';
import { CofferError, type ErrorCode } from '@coffer/base';
import type { ObjectInfo, ObjectStore } from '../object-store.ts';

/** For tests that know what they have put. */
export const ANY_SIZE = { sizeBytesMax: 1024 ** 3 } as const;

/** All that a list gives. */
export async function listAll(store: ObjectStore, prefix: string): Promise<ObjectInfo[]> {
  return await Array.fromAsync(store.list(prefix));
}

/** States that a call fails with this code. */
export async function failsWith(code: ErrorCode, promise: Promise<unknown>): Promise<void> {
  await assert.rejects(promise, (error) => {
    assertCode(error, code);
    return true;
  });
}

/** States that this is an error of that code. */
export function assertCode(error: unknown, code: ErrorCode): void {
  if (!(error instanceof CofferError)) throw error;
  assert.equal(error.code, code, error.message);
}
