/**
 * Whether a repository is well, without reading what it holds. One object is written, and deleted
 * again, to see the clock of the store.
 */
import {
  type ErrorDetails,
  type Health,
  healthOf,
  type HealthStatus,
  isCofferError,
  type Look,
  type Seen,
} from '@coffer/base';
import { configDamages } from './config-objects.ts';
import { readGcState } from './generations/gc-record.ts';
import { probeName } from './gc/leftovers.ts';
import { readKeySlots, type SlotSecret } from './keys.ts';
import type { Repository } from './repository.ts';
import { LEASE_MS } from './session/session.ts';
import { listSessions } from './session/session-record.ts';

const STATUS = {
  'config-intact': 'ok',
  'config-copy-damaged': 'failure',
  'key-slots-intact': 'ok',
  'key-slots-damaged': 'failure',
  'recovery-key-missing': 'warning',
  'secret-opens': 'ok',
  'secret-not-given': 'warning',
  'index-in-step': 'ok',
  'index-objects-damaged': 'failure',
  'clock-in-step': 'ok',
  'clock-differs': 'warning',
  'clock-unseen': 'warning',
  'sessions-alive': 'ok',
  'sessions-silent': 'warning',
  'collections-finished': 'ok',
  'collection-unfinished': 'warning',
} as const satisfies Record<string, HealthStatus>;

export type RepositoryHealthCode = keyof typeof STATUS;

/** Points are named by the clock, and found by it. */
const CLOCK_DIFFERENCE_MS_MAX = 60_000;

/** Gives what is to open the repository, where there is something. */
type SecretSource = () => SlotSecret | undefined;

export async function repositoryHealth(
  repository: Repository,
  secretOf: SecretSource,
): Promise<Health<RepositoryHealthCode>[]> {
  const looks: readonly Look<RepositoryHealthCode>[] = [
    { subject: 'config', see: () => seeConfig(repository) },
    { subject: 'key slots', see: () => seeSlots(repository) },
    { subject: 'passphrase', see: () => seeSecret(repository, secretOf()) },
    { subject: 'index cache', see: () => seeIndex(repository) },
    { subject: 'clock', see: () => seeClock(repository) },
    { subject: 'sessions', see: () => seeSessions(repository) },
    { subject: 'garbage collection', see: () => seeCollections(repository) },
  ];
  return await healthOf(repository.run, looks);
}

function seen(code: RepositoryHealthCode, details: ErrorDetails = {}): Seen<RepositoryHealthCode> {
  return { code, status: STATUS[code], details };
}

async function seeConfig({ store }: Repository): Promise<Seen<RepositoryHealthCode>> {
  const [damage] = await configDamages(store);
  if (!damage) return seen('config-intact');
  return seen('config-copy-damaged', damage.details);
}

async function seeSlots(repository: Repository): Promise<Seen<RepositoryHealthCode>> {
  const damaged: string[] = [];
  const slots = await readKeySlots(repository, (_, name) => damaged.push(name));
  const recoveryKeys = slots.filter(({ kind }) => kind === 'recovery').length;
  const counts = { passphrases: slots.length - recoveryKeys, recoveryKeys };
  if (damaged.length > 0) {
    return seen('key-slots-damaged', { ...counts, damaged: damaged.join(', ') });
  }
  return seen(recoveryKeys > 0 ? 'key-slots-intact' : 'recovery-key-missing', counts);
}

async function seeSecret(
  repository: Repository,
  secret: SlotSecret | undefined,
): Promise<Seen<RepositoryHealthCode>> {
  if (secret === undefined) return seen('secret-not-given');
  await repository.unlock(secret);
  return seen('secret-opens');
}

async function seeIndex({ index, store }: Repository): Promise<Seen<RepositoryHealthCode>> {
  const known = new Set<string>();
  for await (const { name } of store.list('index/')) if (index.hasObject(name)) known.add(name);
  const { damaged, objects } = await index.synchronize(store);
  if (damaged.length > 0) return seen('index-objects-damaged', { objects: damaged.length });
  const added = [...objects].filter((name) => !known.has(name)).length;
  return seen('index-in-step', { chunks: index.chunkCount, added });
}

async function seeClock({ store, run }: Repository): Promise<Seen<RepositoryHealthCode>> {
  const { clock, random } = run;
  const name = probeName(random);
  try {
    const before = clock.now();
    await store.put(name, Buffer.from('clock'));
    const after = clock.now();
    const createdAt = (await store.stat(name))?.createdAt ?? after;
    const differenceMs = Math.max(0, before - createdAt, createdAt - after);
    const isInStep = differenceMs <= CLOCK_DIFFERENCE_MS_MAX;
    return seen(isInStep ? 'clock-in-step' : 'clock-differs', { differenceMs });
  } catch (error) {
    const isReadOnly =
      isCofferError(error, 'store-read-only') || isCofferError(error, 'store-denied');
    if (!isReadOnly) throw error;
    return seen('clock-unseen');
  } finally {
    await store.delete(name).catch(() => {
      // It was not written, or cannot be removed: a garbage collection does that a day later.
    });
  }
}

async function seeSessions({ store, run }: Repository): Promise<Seen<RepositoryHealthCode>> {
  const open = (await listSessions(store)).filter(({ hasEnd }) => !hasEnd);
  const silent = open.filter(({ lastSignAt }) => run.clock.now() - lastSignAt > LEASE_MS).length;
  return seen(silent === 0 ? 'sessions-alive' : 'sessions-silent', { open: open.length, silent });
}

async function seeCollections({ store }: Repository): Promise<Seen<RepositoryHealthCode>> {
  const { generation, unfinished } = await readGcState(store);
  return seen(unfinished ? 'collection-unfinished' : 'collections-finished', { generation });
}
