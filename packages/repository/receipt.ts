/**
 * Receipts: when a point arrived, from whom, and for what, as the service says that received it. Its
 * MAC is of a key that the service has, so nobody else can say when a point may go. The first receipt
 * of a point counts. FORMAT.md, section 15.
 */
import { CofferError, isCofferError, mapBounded } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import * as v from 'valibot';
import { count, decodeRecord, encodeChecked, hexOf, shortText } from './record.ts';
import { macFault, type MacKey, macOf } from './record-mac.ts';
import { getRecordIfThere, putIfAbsent } from './store-calls.ts';

const PREFIX = 'receipts/';

const Receipt = v.object({
  /** Its id. */
  point: hexOf(16),
  /** By the service's clock, in ms since 1970. */
  arrivedAt: count,
  agent: shortText,
  job: shortText,
  /** The moment of the schedule that it was made for, in ms since 1970; none when it was asked for. */
  occurrence: v.optional(count),
  /** The last member, see `record-mac.ts`. */
  mac: hexOf(32),
});

export type Receipt = Omit<v.InferOutput<typeof Receipt>, 'mac'>;

export function receiptName(pointId: string): string {
  return PREFIX + pointId;
}

/** The id in such a name; undefined for another one. */
export function parseReceiptName(name: string): string | undefined {
  return /^receipts\/([0-9a-f]{32})$/.exec(name)?.[1];
}

/** `key` is the service's, of 32 bytes. */
export function encodeReceipt(receipt: Receipt, key: Buffer): Buffer {
  const { point, arrivedAt, agent, job, occurrence } = receipt;
  const record = { point, arrivedAt, agent, job, occurrence };
  const mac = macOf('receipt', record, macKey(key));
  return encodeChecked('receipt', Receipt, { ...record, mac });
}

/** Fails with `object-damaged`; with a key also for a receipt that was not made with it. */
export function checkReceipt(bytes: Buffer, name: string, key?: Buffer): Receipt {
  const { mac, ...receipt } = decodeRecord('receipt', Receipt, bytes, name);
  const isNamed = receiptName(receipt.point) === name;
  const reason = isNamed ? macFault(bytes, mac, key && macKey(key)) : 'its name is wrong';
  if (reason === undefined) return receipt;
  throw new CofferError('object-damaged', { object: name, reason });
}

function macKey(material: Buffer): MacKey {
  return { context: 'coffer 1 receipt mac', material };
}

/** Puts the receipt of a point that exists. False when it has one: the first one counts. */
export async function putReceipt(
  store: ObjectStore,
  receipt: Receipt,
  key: Buffer,
): Promise<boolean> {
  const name = receiptName(receipt.point);
  try {
    await store.put(name, encodeReceipt(receipt, key));
    return true;
  } catch (error) {
    if (!isCofferError(error, 'object-exists')) throw error;
    if (await isIntact(store, name, key)) return false;
    await store.delete(name);
    await putIfAbsent(store, name, encodeReceipt(receipt, key));
    return true;
  }
}

async function isIntact(store: ObjectStore, name: string, key: Buffer): Promise<boolean> {
  try {
    return (await readReceipt(store, name, key)) !== undefined;
  } catch (error) {
    if (isCofferError(error, 'object-damaged')) return false;
    throw error;
  }
}

/** Undefined when there is none. Fails as `checkReceipt` does. */
export async function readReceipt(
  store: ObjectStore,
  name: string,
  key?: Buffer,
): Promise<Receipt | undefined> {
  const bytes = await getRecordIfThere(store, name);
  return bytes && checkReceipt(bytes, name, key);
}

export async function listReceipts(store: ObjectStore): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of store.list(PREFIX)) {
    if (parseReceiptName(name) !== undefined) names.push(name);
  }
  return names;
}

/** Receipts fetched at once. */
const FETCHES_AT_ONCE = 16;

/** All receipts by the ids of their points; those that are damaged, or not of the key, are told. */
export async function readReceipts(
  store: ObjectStore,
  key: Buffer,
  onDamaged: (error: CofferError) => void,
): Promise<ReadonlyMap<string, Receipt>> {
  const names = await listReceipts(store);
  const read = await mapBounded(names, FETCHES_AT_ONCE, async (name) => {
    try {
      return await readReceipt(store, name, key);
    } catch (error) {
      if (!isCofferError(error, 'object-damaged')) throw error;
      onDamaged(error);
      return undefined;
    }
  });
  return new Map(read.filter((each) => each !== undefined).map((each) => [each.point, each]));
}
