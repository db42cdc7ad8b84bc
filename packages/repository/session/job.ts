/**
 * Jobs: what is to make its points once, however often it is tried, by whichever process. The ids of
 * the sessions of its attempts follow from its key, so that each attempt finds those before it; what
 * it has committed is kept under `jobs/` when the session is gone. FORMAT.md, section 13.
 */
import { assert, CofferError, digest, type Random } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import * as v from 'valibot';
import { decodeRecord, encodeChecked, hexOf } from '../record.ts';
import { POINT_ID_SIZE_BYTES } from '../recovery-point.ts';
import { getRecordIfThere } from '../store-calls.ts';

export const JOB_ID_SIZE_BYTES = 10;

/** Which try of which job. */
export interface Attempt {
  /** Names the job: the same for all of its attempts, and for nothing else. */
  readonly key: string;
  /** From 1 on. A later attempt ends earlier ones, or takes what they have committed. */
  readonly number: number;
}

const KEY_LENGTH_MAX = 1024;
export const ATTEMPTS_MAX = 0xffff;
/** Turns begin below it, so that there is room above. */
const FIRST_TURN_MAX = 2 ** 31;
const TURN_MAX = 2 ** 32 - 1;

/** Fails with `usage` for what cannot be a key or a number. */
export function jobIdOf({ key, number }: Attempt): string {
  const isKey = key.length >= 1 && key.length <= KEY_LENGTH_MAX;
  const isNumber = Number.isInteger(number) && number >= 1 && number <= ATTEMPTS_MAX;
  if (!isKey || !isNumber) throw new CofferError('usage', { job: key, attempt: number });
  return digest(Buffer.from(`coffer 1 job ${key}`, 'utf8')).toString('hex', 0, JOB_ID_SIZE_BYTES);
}

/**
 * The id of a session of the attempt that comes behind those of it that are there. It is random, too:
 * a collection may still be about to remove what lay under an id, so that none comes back.
 */
export function attemptSessionId(
  attempt: Attempt,
  present: readonly string[],
  random: Random,
): string {
  const ofAttempt = jobIdOf(attempt) + hexDigits(attempt.number, 4);
  const turns = present
    .filter((session) => session.startsWith(ofAttempt))
    .map((session) => Number.parseInt(session.slice(ofAttempt.length), 16));
  const turn =
    turns.length === 0
      ? Math.floor(random.fraction() * FIRST_TURN_MAX)
      : Math.max(...turns) + 1 + Math.floor(random.fraction() * 0xffff);
  assert(turn <= TURN_MAX, 'an attempt has fewer turns than there are');
  return ofAttempt + hexDigits(turn, 8);
}

function hexDigits(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}

const JobRecord = v.object({
  job: hexOf(JOB_ID_SIZE_BYTES),
  /** The one that committed. */
  session: hexOf(16),
  points: v.array(v.object({ id: hexOf(POINT_ID_SIZE_BYTES), item: v.string() })),
});

/** What a job has committed. A point of it may have been removed since. */
export type JobResult = v.InferOutput<typeof JobRecord>;

const PREFIX = 'jobs/';

export function jobName(job: string): string {
  return PREFIX + job;
}

/** The id of the job; undefined for a name that is none of ours. */
export function parseJobName(name: string): string | undefined {
  return /^jobs\/([0-9a-f]{20})$/.exec(name)?.[1];
}

export function encodeJob(result: JobResult): Buffer {
  return encodeChecked('job', JobRecord, result);
}

/** Fails with `object-damaged`. */
export function decodeJob(bytes: Buffer, name: string): JobResult {
  const result = decodeRecord('job', JobRecord, bytes, name);
  if (jobName(result.job) === name) return result;
  throw new CofferError('object-damaged', { object: name, reason: 'its name is wrong' });
}

/** Undefined when the job has not committed, or nobody has finished its session. */
export async function readJob(store: ObjectStore, job: string): Promise<JobResult | undefined> {
  const name = jobName(job);
  const bytes = await getRecordIfThere(store, name);
  return bytes && decodeJob(bytes, name);
}

/** So long nobody asks again: a job is given up before. */
const JOB_AGE_MS_MAX = 35 * 24 * 60 * 60_000;

/** By the store's clock: when that is wrong, a job that is tried again may make a second point. */
export async function removeOldJobs(
  store: ObjectStore,
  askNow: () => Promise<number>,
): Promise<void> {
  for await (const { name, createdAt } of store.list(PREFIX)) {
    const isOurs = parseJobName(name) !== undefined;
    if (isOurs && (await askNow()) - createdAt > JOB_AGE_MS_MAX) await store.delete(name);
  }
}
