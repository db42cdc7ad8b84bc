/**
 * The MAC of a record, which tells who has its key that one who has it made the record, and that
 * nobody changed it. It is the last member, so it is found by its place, and covers all that stands
 * before it. FORMAT.md, sections 12 and 15.
 */
import { deriveKey, KeyedDigest } from '@coffer/base';
import { encodeRecord, type RecordKind } from './record.ts';

const BEFORE_MAC = Buffer.from(',"mac":"');
const MAC_DIGITS = 64;
const NO_MAC = '0'.repeat(MAC_DIGITS);
/** `"}`, a line feed, and the line of the digest. */
const AFTER_MAC_SIZE_BYTES = 2 + 1 + 65;

/** What the key of a MAC is derived from, and for what. */
export interface MacKey {
  readonly context: 'coffer 1 point mac' | 'coffer 1 receipt mac';
  readonly material: Buffer;
}

/** The MAC that the record is to have as its last member. */
export function macOf(kind: RecordKind, record: object, key: MacKey): string {
  // All but the MAC itself is known by now.
  const unsigned = encodeRecord(kind, { ...record, mac: NO_MAC });
  return macOver(macPart(unsigned).covered, key);
}

/** Why the MAC of a stored record is not right; undefined when it is, as far as the key can tell. */
export function macFault(bytes: Buffer, stored: string, key?: MacKey): string | undefined {
  const { covered, mac } = macPart(bytes);
  const isLast = covered.subarray(-BEFORE_MAC.length).equals(BEFORE_MAC) && mac === stored;
  if (!isLast) return 'its MAC is not its last member';
  const isRight = key === undefined || macOver(covered, key) === mac;
  return isRight ? undefined : 'its MAC is wrong: it was not made with the key that we have';
}

function macPart(bytes: Buffer): { readonly covered: Buffer; readonly mac: string } {
  const end = Math.max(0, bytes.length - AFTER_MAC_SIZE_BYTES);
  const start = Math.max(0, end - MAC_DIGITS);
  return { covered: bytes.subarray(0, start), mac: bytes.toString('latin1', start, end) };
}

function macOver(covered: Buffer, key: MacKey): string {
  return digestOf(key).of(covered).toString('hex');
}

const digests = new WeakMap<Buffer, Map<MacKey['context'], KeyedDigest>>();

/** Set up once for many records: a listing looks at the MAC of each. */
function digestOf({ context, material }: MacKey): KeyedDigest {
  const ofMaterial = digests.get(material) ?? new Map<MacKey['context'], KeyedDigest>();
  digests.set(material, ofMaterial);
  const known = ofMaterial.get(context);
  if (known) return known;
  const made = new KeyedDigest(deriveKey(context, material));
  ofMaterial.set(context, made);
  return made;
}
