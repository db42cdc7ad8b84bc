/** The JSON of LUKS2 as far as it is used: LUKS2 on-disk format specification, section 3. */
import * as v from 'valibot';
import { KEY_BYTES_MAX, STRIPE_COUNT_MAX } from './header.ts';

/** Sizes and offsets in bytes, far beyond what is true and such that sums of them are exact. */
const BYTES_MAX = 2 ** 48;

/** The number of iterations and the like; what is too much work is decided elsewhere. */
const COUNT_MAX = 2 ** 32 - 1;

/** Numbers of 64 bits are strings. */
const bytes = v.pipe(v.string(), v.regex(/^\d{1,20}$/), v.transform(Number), v.maxValue(BYTES_MAX));
const count = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(COUNT_MAX));
const name = v.pipe(v.string(), v.maxLength(64));

function binary(lengthMin: number, lengthMax: number) {
  return v.pipe(
    v.string(),
    v.maxLength(Math.ceil(lengthMax / 3) * 4),
    v.base64(),
    v.transform((text) => Buffer.from(text, 'base64')),
    v.check(({ length }) => length >= lengthMin && length <= lengthMax),
  );
}

/** Objects of all kinds are named by small numbers, so that there are few of each kind. */
const id = v.pipe(v.string(), v.regex(/^([12]?\d|3[01])$/));

const Pbkdf2Schema = v.object({
  type: v.literal('pbkdf2'),
  hash: name,
  iterations: count,
  salt: binary(8, 64),
});

const Argon2Schema = v.object({
  type: v.picklist(['argon2i', 'argon2id']),
  time: count,
  /** KiB. */
  memory: count,
  cpus: v.pipe(count, v.maxValue(255)),
  salt: binary(8, 64),
});

/** Section 3.2. Each is parsed alone, so that a damaged one does not hide the others. */
export const KeySlotSchema = v.object({
  type: v.literal('luks2'),
  key_size: v.pipe(count, v.maxValue(KEY_BYTES_MAX)),
  area: v.object({
    type: v.literal('raw'),
    offset: bytes,
    size: bytes,
    encryption: name,
    key_size: v.pipe(count, v.maxValue(KEY_BYTES_MAX)),
  }),
  kdf: v.variant('type', [Pbkdf2Schema, Argon2Schema]),
  af: v.object({
    type: v.literal('luks1'),
    stripes: v.pipe(count, v.maxValue(STRIPE_COUNT_MAX)),
    hash: name,
  }),
});

/** What every object says of itself. */
export const TypeSchema = v.object({
  type: name,
  /** Of key slots: 0 is tried when it is asked for, 1 is usual, 2 is tried first. */
  priority: v.optional(v.picklist([0, 1, 2]), 1),
  /** Of segments: those of a change that is not finished have some. */
  flags: v.optional(v.array(name), []),
  /** Of segments that are authenticated. */
  integrity: v.optional(v.unknown()),
});

/** Section 3.3, of type `crypt`. */
export const SegmentSchema = v.object({
  offset: bytes,
  size: v.union([v.literal('dynamic'), bytes]),
  iv_tweak: bytes,
  encryption: name,
  sector_size: v.picklist([512, 1024, 2048, 4096]),
});

/** Section 3.4. */
const DigestSchema = v.object({
  type: v.literal('pbkdf2'),
  keyslots: v.array(id),
  segments: v.array(id),
  hash: name,
  iterations: count,
  salt: binary(8, 64),
  // A short digest would take any key for the right one.
  digest: binary(20, 64),
});

export const MetadataSchema = v.object({
  keyslots: v.record(id, v.unknown()),
  segments: v.record(id, v.unknown()),
  digests: v.record(id, DigestSchema),
  config: v.object({
    requirements: v.optional(v.object({ mandatory: v.optional(v.array(name), []) })),
  }),
});

export type Metadata = v.InferOutput<typeof MetadataSchema>;
export type MetadataDigest = v.InferOutput<typeof DigestSchema>;
export type MetadataKeySlot = v.InferOutput<typeof KeySlotSchema>;
