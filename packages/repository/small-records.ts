/**
 * The records that no other part of verification and repair reads: what is said of points, and what
 * jobs have made. What else lies under their prefixes is no part of the repository, and stays.
 */
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { checkDeletion, parseDeletionName } from './deleted-points.ts';
import { checkHold, parseHoldName } from './hold.ts';
import { checkReceipt, parseReceiptName } from './receipt.ts';
import { checkRemoval, parseRemovalName } from './removed-points.ts';
import { decodeJob, parseJobName } from './session/job.ts';
import { getRecord } from './store-calls.ts';

interface Kind {
  readonly prefix: string;
  /** Undefined for a name that is none of ours. */
  readonly parse: (name: string) => unknown;
  /** Fails with `object-damaged`. */
  readonly check: (bytes: Buffer, name: string) => unknown;
}

/** Marks of damaged points are not among them: their names say all. */
const KINDS: readonly Kind[] = [
  { prefix: 'holds/', parse: parseHoldName, check: checkHold },
  { prefix: 'deleted/', parse: parseDeletionName, check: checkDeletion },
  {
    prefix: 'receipts/',
    parse: parseReceiptName,
    check: (bytes, name) => checkReceipt(bytes, name),
  },
  { prefix: 'removed/', parse: parseRemovalName, check: checkRemoval },
  { prefix: 'jobs/', parse: parseJobName, check: decodeJob },
];

/** A record, and how to look at it. */
interface SmallRecord {
  readonly name: string;
  /** Fails with `object-damaged`, or `object-not-found`. */
  readonly check: () => Promise<unknown>;
}

export async function listSmallRecords(store: ObjectStore): Promise<SmallRecord[]> {
  const records: SmallRecord[] = [];
  for (const { prefix, parse, check } of KINDS) {
    for await (const { name } of store.list(prefix)) {
      if (parse(name) === undefined) continue;
      records.push({ name, check: async () => check(await getRecord(store, name), name) });
    }
  }
  return records;
}
