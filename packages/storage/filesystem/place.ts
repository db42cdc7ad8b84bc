/** What a place has to do for objects, whatever file system it is on, tried before it is used. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CofferError, type Random, systemErrorCode } from '@coffer/base';
import type { FileCalls } from './calls.ts';

/** As long as names of objects are between two slashes, and of the same characters. */
const NAME_BYTES = 32;
const FILE_MODE = 0o600;

/**
 * Makes a file in `folder` and removes it. Fails with `store-unsupported` where names do not stay as
 * they are, or where a file can be created twice; and as the system does.
 */
export async function tryPlace(folder: string, calls: FileCalls, random: Random): Promise<void> {
  // With the dot it is outside of the name space.
  const name = `.try-${random.bytes(NAME_BYTES).toString('hex')}.a`;
  const path = join(folder, name);
  const create = async () => await (await calls.open(path, 'wx', FILE_MODE)).close();
  await create();
  try {
    if (!(await readdir(folder)).includes(name)) throw unsupported(folder, 'it changes names');
    await create();
    throw unsupported(folder, 'a file can be created twice');
  } catch (error) {
    if (systemErrorCode(error) !== 'EEXIST') throw error;
  } finally {
    await calls.unlink(path);
  }
}

function unsupported(path: string, reason: string): CofferError {
  return new CofferError('store-unsupported', { path, reason });
}
