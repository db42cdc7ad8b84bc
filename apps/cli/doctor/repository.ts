/** What the doctor looks at in a repository. It writes one object, to see the store's clock. */
import { statfsSync } from 'node:fs';
import { CofferError, isCofferError, reasonOf } from '@coffer/base';
import { readKeySlots, type Repository } from '@coffer/repository';
import { configDamages } from '@coffer/repository/config-objects.ts';
import { readGcState } from '@coffer/repository/gc/gc-record.ts';
import { probeName } from '@coffer/repository/gc/leftovers.ts';
import { LEASE_MS } from '@coffer/repository/session/session.ts';
import { listSessions } from '@coffer/repository/session/session-record.ts';
import { parseLocation } from '@coffer/storage/location.ts';
import { clock, openRepositoryAt, random } from '../compose.ts';
import { remedyOf } from '../failures/failures.ts';
import { formatBytes, formatDuration } from '../output.ts';
import { givenPassphrase } from '../passphrase.ts';
import { interruptSignal } from '../run.ts';
import { chooseRepository, type GlobalOptions } from '../settings.ts';
import { type Check, failure, ok, warning } from './check.ts';

const CLOCK_DIFFERENCE_MS_MAX = 60_000;
const FREE_SHARE_MIN = 0.05;
const FREE_BYTES_MIN = 1024 ** 3;

export async function checkRepository(options: GlobalOptions): Promise<Check[]> {
  let repository: Repository;
  try {
    repository = await openRepositoryAt(chooseRepository(options).location);
  } catch (error) {
    return [cannotOpen(error, options)];
  }
  try {
    const checks = [ok('repository', `${repository.location} answers`)];
    const parts: readonly (readonly [string, () => Promise<Check> | Check])[] = [
      ['config', () => checkConfig(repository)],
      ['key slots', () => checkSlots(repository)],
      ['passphrase', () => checkPassphrase(repository, options)],
      ['index cache', () => checkIndex(repository)],
      ['clock', () => checkClock(repository)],
      ['free space', () => checkSpace(repository)],
      ['sessions', () => checkSessions(repository)],
      ['garbage collection', () => checkGc(repository)],
    ];
    for (const [name, check] of parts) checks.push(await attempt(name, check));
    return checks;
  } finally {
    await repository.close();
  }
}

function cannotOpen(error: unknown, options: GlobalOptions): Check {
  const isMissing = isCofferError(error, 'repository-not-found');
  if (isMissing && isEmbedded(options)) {
    return ok('repository', 'there is none yet; `coffer backup` makes one');
  }
  return toFailure('repository', error);
}

/** False as well for a user without a home, who has to name a repository. */
function isEmbedded(options: GlobalOptions): boolean {
  try {
    return chooseRepository(options).isEmbedded;
  } catch {
    return false;
  }
}

async function attempt(name: string, check: () => Promise<Check> | Check): Promise<Check> {
  try {
    return await check();
  } catch (error) {
    return toFailure(name, error);
  }
}

function toFailure(check: string, error: unknown): Check {
  // Who ends the doctor has no repository that is ill.
  interruptSignal.throwIfAborted();
  const message = reasonOf(error);
  return failure(
    check,
    message,
    error instanceof CofferError ? remedyOf(error) : 'See the reason.',
  );
}

async function checkConfig({ store }: Repository): Promise<Check> {
  const [damage] = await configDamages(store);
  if (!damage) return ok('config', 'both copies are intact');
  const help = 'Run `coffer repair` soon: it writes the damaged one anew from the other one.';
  return failure('config', `one of its two copies is damaged: ${damage.message}`, help);
}

async function checkSlots(repository: Repository): Promise<Check> {
  const damaged: string[] = [];
  const slots = await readKeySlots(repository, (_, name) => damaged.push(name));
  const recoveryCount = slots.filter(({ kind }) => kind === 'recovery').length;
  const message = `${slots.length - recoveryCount} passphrases and ${recoveryCount} recovery keys`;
  if (damaged.length > 0) {
    const help =
      'See what still opens it, run `coffer repair`, then `coffer key add` or `recovery`.';
    return failure('key slots', `${message}; damaged: ${damaged.join(', ')}`, help);
  }
  if (recoveryCount > 0) return ok('key slots', message);
  return warning('key slots', message, 'Run `coffer key recovery`: a passphrase may get lost.');
}

async function checkPassphrase(repository: Repository, options: GlobalOptions): Promise<Check> {
  const passphrase = givenPassphrase(options);
  if (passphrase === undefined) {
    const help = 'Give --passphrase-file, COFFER_PASSPHRASE_FILE or COFFER_PASSPHRASE.';
    return warning('passphrase', 'none was given, so it was not tried', help);
  }
  await repository.unlock(passphrase);
  return ok('passphrase', 'it opens the repository');
}

async function checkIndex({ index, store }: Repository): Promise<Check> {
  const known = new Set<string>();
  for await (const { name } of store.list('index/')) if (index.hasObject(name)) known.add(name);
  const { damaged, objects } = await index.synchronize(store);
  if (damaged.length > 0) {
    const help = 'Run `coffer repair --rebuild-index`: packs hold all that the index says.';
    return failure('index cache', `${damaged.length} index objects are damaged`, help);
  }
  const missing = [...objects].filter((name) => !known.has(name)).length;
  const was = missing === 0 ? 'in step' : `in step now; ${missing} index objects were missing`;
  return ok('index cache', `${index.chunkCount} chunks, ${was}`);
}

async function checkClock({ store }: Repository): Promise<Check> {
  const name = probeName(random);
  try {
    const before = clock.now();
    await store.put(name, Buffer.from('clock'));
    const after = clock.now();
    const createdAt = (await store.stat(name))?.createdAt ?? after;
    const differenceMs = Math.max(0, before - createdAt, createdAt - after);
    const message = `differs from the store's by ${formatDuration(differenceMs)} or less`;
    if (differenceMs <= CLOCK_DIFFERENCE_MS_MAX) return ok('clock', message);
    return warning('clock', message, 'Let both keep time by NTP: points are named by it.');
  } catch (error) {
    if (!isReadOnly(error)) throw error;
    const help = 'Reading works; backup, remove and gc need a store that can be written to.';
    return warning('clock', 'the store is read-only, so its clock was not seen', help);
  } finally {
    await store.delete(name).catch(() => {
      // It was not written, or cannot be removed: a garbage collection does that a day later.
    });
  }
}

function isReadOnly(error: unknown): boolean {
  return isCofferError(error, 'store-read-only') || isCofferError(error, 'store-denied');
}

function checkSpace({ location }: Repository): Check {
  if (parseLocation(location).kind !== 'filesystem') {
    return ok('free space', 'the store does not tell');
  }
  const { bavail, blocks, bsize } = statfsSync(location);
  const free = bavail * bsize;
  const message = `${formatBytes(free)} of ${formatBytes(blocks * bsize)} are free`;
  if (free >= FREE_BYTES_MIN && bavail >= blocks * FREE_SHARE_MIN) return ok('free space', message);
  return warning('free space', message, 'Make space, or remove points and run `coffer gc`.');
}

async function checkSessions({ store }: Repository): Promise<Check> {
  const open = (await listSessions(store)).filter(({ hasEnd }) => !hasEnd);
  const silent = open.filter(({ lastSignAt }) => clock.now() - lastSignAt > LEASE_MS);
  if (silent.length === 0) return ok('sessions', `${open.length} open`);
  const message = `${silent.length} of ${open.length} open ones have given no sign for an hour`;
  return warning('sessions', message, 'They were killed, most likely; `coffer gc` ends them.');
}

async function checkGc({ store }: Repository): Promise<Check> {
  const { generation, unfinished } = await readGcState(store);
  if (!unfinished) return ok('garbage collection', `${generation} so far, none unfinished`);
  const message = `number ${generation} is not finished`;
  return warning('garbage collection', message, 'Run `coffer gc`: it goes on where that stopped.');
}
