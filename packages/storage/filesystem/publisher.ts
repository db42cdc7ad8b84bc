/**
 * Gives a whole file the name of an object, which must be new.
 *
 * Where the place has hard links, one does it: a link to a name that exists fails, for everybody and
 * at once. Where it has none (FAT, exFAT, many shares), a *claim* decides: a file beside the
 * temporary ones that only one can create, whose owner alone may look whether the name is free and
 * rename to it. Readers see names only of whole files, with both.
 *
 * Invariant: who renames holds the claim of the name. A claim is held for two calls of the system; one
 * of a dead process is removed by who comes an hour later, one at a time.
 */
import { stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { type Clock, CofferError, digest, systemErrorCode } from '@coffer/base';
import type { FileCalls } from './calls.ts';
import { isMissing } from './errors.ts';

/** What places without hard links answer, and those whose folders are on several file systems. */
const NO_LINKS: ReadonlySet<string> = new Set([
  'EPERM',
  'EACCES',
  'ENOTSUP',
  'ENOSYS',
  'EINVAL',
  'EMLINK',
  'EXDEV',
]);

const CLAIM_MODE = 0o600;
const CLAIM_AGE_MS = 60 * 60_000;
const CLAIM_POLL_MS = 20;
/** Longer than a share needs for two calls; whoever waited so long is told, and tries again. */
const CLAIM_WAIT_MS_MAX = 10_000;

export class Publisher {
  readonly #root: string;
  readonly #calls: FileCalls;
  readonly #clock: Clock;
  #hasLinks = true;

  constructor(root: string, calls: FileCalls, clock: Clock) {
    this.#root = root;
    this.#calls = calls;
    this.#clock = clock;
  }

  /** False when there is an object of that name. Fails as the system does. */
  async publish(temporary: string, path: string, signal?: AbortSignal): Promise<boolean> {
    if (this.#hasLinks) {
      const isNew = await this.#link(temporary, path);
      if (isNew !== undefined) return isNew;
    }
    const isNew = await this.#renameClaimed(temporary, path, signal);
    this.#hasLinks = false;
    return isNew;
  }

  /** Undefined where the place has no links. */
  async #link(temporary: string, path: string): Promise<boolean | undefined> {
    try {
      await this.#calls.link(temporary, path);
      return true;
    } catch (error) {
      const code = systemErrorCode(error) ?? '';
      // NFS may have lost its first answer, and link a second time.
      if (code === 'EEXIST') return await isSameFile(temporary, path);
      if (!NO_LINKS.has(code)) throw error;
      return undefined;
    }
  }

  async #renameClaimed(
    temporary: string,
    path: string,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    // Of the name in the store: another host has mounted it elsewhere.
    const id = digest(Buffer.from(relative(this.#root, path))).toString('hex');
    const claim = join(dirname(temporary), `claim-${id}`);
    if (!(await this.#claim(claim, temporary, path, signal))) return false;
    try {
      if (await exists(path)) return false;
      await this.#calls.rename(temporary, path);
      return true;
    } finally {
      // One that cannot be removed is in nobody's way once it is old.
      await this.#calls.unlink(claim).catch(() => undefined);
    }
  }

  /** False when the object exists; else the claim is ours. */
  async #claim(
    claim: string,
    temporary: string,
    path: string,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    for (let waitedMs = 0; waitedMs <= CLAIM_WAIT_MS_MAX; waitedMs += CLAIM_POLL_MS) {
      if (await exists(path)) return false;
      if (await this.#create(claim)) return true;
      await this.#removeOld(claim, temporary);
      await this.#clock.sleep(CLAIM_POLL_MS, signal);
    }
    throw new CofferError('store-unavailable', { path, reason: 'another put has not ended' });
  }

  async #create(claim: string): Promise<boolean> {
    try {
      await (await this.#calls.open(claim, 'wx', CLAIM_MODE)).close();
      return true;
    } catch (error) {
      if (systemErrorCode(error) === 'EEXIST') return false;
      throw error;
    }
  }

  /** Looks again when nobody else removes: the claim may be a new one by then. */
  async #removeOld(claim: string, temporary: string): Promise<void> {
    const removal = `${claim}-removal`;
    if (!(await isOld(claim, temporary)) || !(await this.#create(removal))) return;
    try {
      if (await isOld(claim, temporary)) await this.#calls.unlink(claim);
    } finally {
      await this.#calls.unlink(removal);
    }
  }
}

/** Both times are of the clock of the place, whatever clocks its users have. */
async function isOld(claim: string, temporary: string): Promise<boolean> {
  try {
    const [claimed, written] = await Promise.all([stat(claim), stat(temporary)]);
    return written.mtimeMs - claimed.mtimeMs > CLAIM_AGE_MS;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

async function isSameFile(one: string, other: string): Promise<boolean> {
  const [first, second] = await Promise.all([
    stat(one, { bigint: true }),
    stat(other, { bigint: true }),
  ]);
  return first.ino === second.ino && first.dev === second.dev;
}
