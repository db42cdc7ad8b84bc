/** The metadata of LUKS2: LUKS2 on-disk format specification, section 3. */
import { type CofferError, isCofferError } from '@coffer/base';
import * as v from 'valibot';
import { parseCipher, parseHash, requireKeySize } from './algorithm-codec.ts';
import { damaged, unsupported } from './failures.ts';
import {
  type KeyDerivation,
  type KeySlot,
  type LuksHeader,
  type Segment,
  SECTOR_BYTES,
  stripesBytes,
} from './header.ts';
import {
  KeySlotSchema,
  type Metadata,
  type MetadataDigest,
  type MetadataKeySlot,
  MetadataSchema,
  SegmentSchema,
  TypeSchema,
} from './luks2-schema-codec.ts';

/** Where metadata is: its own offset, and the size of all that is there. */
export interface Place {
  readonly offset: number;
  readonly volumeBytes: number;
}

/** Those to be ignored come last, since the passphrase may be theirs after all. */
const PREFERRED_FIRST = [2, 1, 0] as const;

/**
 * Reads the JSON of a header whose checksum is right. Fails with `file-system-damaged` and
 * `file-system-unsupported`.
 */
export function parseLuks2Metadata(json: Buffer, place: Place): LuksHeader {
  const metadata = parsed(MetadataSchema, decoded(json, place), 'metadata', place);
  const required = metadata.config.requirements?.mandatory ?? [];
  if (required.length > 0) throw unsupported(`LUKS2 requirement ${required.join(', ')}`);
  const segments = segmentsOf(metadata, place);
  const digest = digestOf(metadata, place);
  const { hash, iterations, salt } = digest;
  return {
    keySlots: keySlotsOf(metadata, digest, segments, place),
    digest: {
      derivation: { kind: 'pbkdf2', hash: parseHash(hash), iterationCount: iterations, salt },
      digest: digest.digest,
    },
    segments,
  };
}

function decoded(json: Buffer, { offset }: Place): unknown {
  try {
    return JSON.parse(json.toString('utf8'));
  } catch {
    throw damaged('LUKS2 metadata', offset, 'no JSON');
  }
}

/** Names the first field that is not as it has to be. */
function parsed<T extends v.GenericSchema>(
  schema: T,
  value: unknown,
  what: string,
  { offset }: Place,
): v.InferOutput<T> {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const path = v.getDotPath(result.issues[0]) ?? '';
  throw damaged('LUKS2 metadata', offset, `${what} ${path}`.trimEnd());
}

/** In the order of their numbers, which is their order on the volume. */
function byNumber(objects: Readonly<Record<string, unknown>>): [id: string, value: unknown][] {
  return Object.entries(objects).sort(([a], [b]) => Number(a) - Number(b));
}

function segmentsOf({ segments }: Metadata, place: Place): Segment[] {
  const all = byNumber(segments).map(([id, value]) => parseSegment(id, value, place));
  if (all.length === 0) throw damaged('LUKS2 metadata', place.offset, 'no segments');
  const isDynamicWithin = all.slice(0, -1).some(({ isDynamic }) => isDynamic);
  if (isDynamicWithin) throw damaged('LUKS2 metadata', place.offset, 'segments overlap');
  return all.map(({ segment }) => segment);
}

function parseSegment(id: string, value: unknown, place: Place) {
  const what = `segment ${id}`;
  const { type, flags, integrity } = parsed(TypeSchema, value, what, place);
  if (type !== 'crypt') throw unsupported(`LUKS2 segment of type ${JSON.stringify(type)}`);
  if (integrity !== undefined) throw unsupported('LUKS2 segment with integrity');
  if (flags.length > 0) throw unsupported(`LUKS2 segment with flag ${JSON.stringify(flags[0])}`);
  const given = parsed(SegmentSchema, value, what, place);
  const { offset, sector_size: sectorBytes } = given;
  if (offset === 0) throw unsupported('header that is detached from its data');
  const isDynamic = given.size === 'dynamic';
  const length = given.size === 'dynamic' ? place.volumeBytes - offset : given.size;
  const isWhole = isDynamic || length % sectorBytes === 0;
  if (length < sectorBytes || offset % SECTOR_BYTES !== 0 || !isWhole) {
    throw damaged('LUKS2 metadata', place.offset, `${what} of ${length} bytes at ${offset}`);
  }
  const segment: Segment = {
    range: { offset, length: length - (length % sectorBytes) },
    cipher: parseCipher(given.encryption),
    sectorBytes,
    firstSector: given.iv_tweak,
  };
  return { segment, isDynamic };
}

/** The one of the key of all segments. */
function digestOf({ digests, segments }: Metadata, { offset }: Place): MetadataDigest {
  const ids = Object.keys(segments);
  const all = Object.values(digests);
  const digest = all.find((one) => ids.every((id) => one.segments.includes(id)));
  if (digest) return digest;
  if (all.some((one) => one.segments.length > 0)) throw unsupported('LUKS2 with several keys');
  throw damaged('LUKS2 metadata', offset, 'no digest');
}

function keySlotsOf(
  { keyslots }: Metadata,
  digest: MetadataDigest,
  segments: readonly Segment[],
  place: Place,
): (KeySlot | CofferError)[] {
  const bound = byNumber(keyslots).filter(([id]) => digest.keyslots.includes(id));
  return PREFERRED_FIRST.flatMap((priority) =>
    bound
      .filter(([, value]) => priorityOf(value) === priority)
      .map(([id, value]) => keySlotOrError(id, value, segments, place)),
  );
}

/** Slots that cannot be read at all are told with the usual ones. */
function priorityOf(value: unknown): 0 | 1 | 2 {
  const result = v.safeParse(TypeSchema, value);
  return result.success ? result.output.priority : 1;
}

function keySlotOrError(
  id: string,
  value: unknown,
  segments: readonly Segment[],
  place: Place,
): KeySlot | CofferError {
  try {
    const { type } = parsed(TypeSchema, value, `key slot ${id}`, place);
    if (type !== 'luks2') throw unsupported(`LUKS2 key slot of type ${JSON.stringify(type)}`);
    const keySlot = parsed(KeySlotSchema, value, `key slot ${id}`, place);
    for (const { cipher } of segments) requireKeySize(cipher, keySlot.key_size);
    return keySlotOf(Number(id), keySlot, place);
  } catch (error) {
    if (!isCofferError(error)) throw error;
    return error;
  }
}

function keySlotOf(index: number, keySlot: MetadataKeySlot, place: Place): KeySlot {
  const { key_size: keyBytes, area, af } = keySlot;
  const length = stripesBytes(keyBytes, af.stripes);
  if (length > area.size) {
    throw damaged('LUKS2 metadata', place.offset, `key slot ${index} in ${area.size} bytes`);
  }
  const areaCipher = parseCipher(area.encryption);
  requireKeySize(areaCipher, area.key_size);
  return {
    index,
    derivation: derivationOf(keySlot.kdf),
    keyBytes,
    stripeCount: af.stripes,
    stripeHash: parseHash(af.hash),
    area: { offset: area.offset, length },
    areaCipher,
    areaKeyBytes: area.key_size,
  };
}

function derivationOf(kdf: MetadataKeySlot['kdf']): KeyDerivation {
  if (kdf.type === 'pbkdf2') {
    const { hash, iterations, salt } = kdf;
    return { kind: 'pbkdf2', hash: parseHash(hash), iterationCount: iterations, salt };
  }
  const { type: kind, time, memory, cpus, salt } = kdf;
  return { kind, passCount: time, memoryKib: memory, laneCount: cpus, salt };
}
