/**
 * Receipts go along with copies of their points within a key domain, byte for byte: their MAC is of
 * the service that made them, and needs nothing of the repository. PROTOCOL.md, "What stands beside a point".
 */
import { findingOf, isCofferError, type RunContext, tellFinding } from '@coffer/base';
import { checkReceipt, listReceipts, parseReceiptName, receiptName } from '../receipt.ts';
import type { Repository } from '../repository.ts';
import { getRecordIfThere, putIfAbsent } from '../store-calls.ts';

interface Pair {
  readonly source: Repository;
  readonly target: Repository;
}

/** Ids of points with a receipt that the target lacks. */
export async function receiptsMissing({ source, target }: Pair): Promise<ReadonlySet<string>> {
  if (!areReceiptsCopied({ source, target })) return NONE;
  const present = new Set(await listReceipts(target.store));
  const missing = (await listReceipts(source.store)).filter((name) => !present.has(name));
  return new Set(missing.map((name) => parseReceiptName(name) ?? ''));
}

const NONE: ReadonlySet<string> = new Set();

/** The same of one point. */
export async function hasReceiptToCopy(pair: Pair, point: string): Promise<boolean> {
  if (!areReceiptsCopied(pair)) return false;
  const name = receiptName(point);
  if (await pair.target.store.stat(name)) return false;
  return (await pair.source.store.stat(name)) !== undefined;
}

/** Points that are sealed anew have other ids; and who lists the points of others receipts them. */
function areReceiptsCopied({ source, target }: Pair): boolean {
  return source.sharesKeysWith(target) && !target.store.capabilities.finishesSessions;
}

/** Of a point that the target has. One that is damaged stays behind. */
export async function copyReceipt(
  run: RunContext,
  { source, target }: Pair,
  point: string,
): Promise<void> {
  const name = receiptName(point);
  try {
    const bytes = await getRecordIfThere(source.store, name);
    if (!bytes) return;
    checkReceipt(bytes, name);
    await putIfAbsent(target.store, name, bytes);
  } catch (error) {
    if (!isCofferError(error, 'object-damaged')) throw error;
    tellFinding(run, findingOf(error, { kind: 'repository', name: source.location }));
  }
}
