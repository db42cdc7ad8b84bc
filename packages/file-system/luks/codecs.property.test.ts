import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import fc from 'fast-check';
import { LUKS1_HEADER_BYTES, parseLuks1Header } from './luks1-codec.ts';
import {
  LUKS2_BINARY_BYTES,
  LUKS2_HEADER_BYTES,
  metadataOf,
  parseBinaryHeader,
} from './luks2-binary-codec.ts';
import { parseLuks2Metadata } from './luks2-metadata-codec.ts';

const VOLUME_BYTES = 64 * 1024 * 1024;
const SALT = Buffer.alloc(32).toString('base64');

/** As cryptsetup writes it. */
const METADATA = {
  keyslots: {
    0: {
      type: 'luks2',
      key_size: 64,
      af: { type: 'luks1', stripes: 4000, hash: 'sha256' },
      area: {
        type: 'raw',
        offset: '32768',
        size: '258048',
        encryption: 'aes-xts-plain64',
        key_size: 64,
      },
      kdf: { type: 'argon2id', time: 4, memory: 32_768, cpus: 1, salt: SALT },
    },
    1: { type: 'reencrypt', priority: 2 },
  },
  segments: {
    0: {
      type: 'crypt',
      offset: '16777216',
      size: 'dynamic',
      iv_tweak: '0',
      encryption: 'aes-xts-plain64',
      sector_size: 512,
    },
  },
  digests: {
    0: {
      type: 'pbkdf2',
      keyslots: ['0', '1'],
      segments: ['0'],
      hash: 'sha256',
      iterations: 1000,
      salt: SALT,
      digest: SALT,
    },
  },
  config: { json_size: '12288', keyslots_size: '16744448', requirements: { mandatory: [] } },
};

function parseMetadata(value: unknown) {
  const json = Buffer.from(JSON.stringify(value));
  return parseLuks2Metadata(json, { offset: 4096, volumeBytes: VOLUME_BYTES });
}

/** What is not understood ends with an error that is told; all else is bounded. */
function assertTold(parse: () => unknown): void {
  try {
    parse();
  } catch (error) {
    assert.ok(isCofferError(error), String(error));
  }
}

test('metadata is read as it is written', () => {
  const { keySlots, digest, segments } = parseMetadata(METADATA);
  const [problem, keySlot] = keySlots;
  assert.ok(isCofferError(problem, 'file-system-unsupported'), 'preferred, and not understood');
  assert.ok(keySlot && !isCofferError(keySlot));
  assert.deepEqual(keySlot.area, { offset: 32_768, length: 256_000 });
  assert.deepEqual(keySlot.derivation, {
    kind: 'argon2id',
    passCount: 4,
    memoryKib: 32_768,
    laneCount: 1,
    salt: Buffer.alloc(32),
  });
  assert.equal(digest.derivation.iterationCount, 1000);
  assert.deepEqual(segments[0]!.range, { offset: 16_777_216, length: VOLUME_BYTES - 16_777_216 });
});

/** The value with another one at the end of a path that leads through it. */
function replaced(value: unknown, path: readonly number[], other: unknown): unknown {
  const entries: [string, unknown][] =
    value !== null && typeof value === 'object' ? Object.entries(value) : [];
  if (entries.length === 0 || path.length === 0) return other;
  const index = path[0]! % entries.length;
  entries[index]![1] = replaced(entries[index]![1], path.slice(1), other);
  return Array.isArray(value) ? entries.map(([, one]) => one) : Object.fromEntries(entries);
}

test('metadata with anything at any place is bounded, or an error', () => {
  const places = fc.array(fc.nat(20), { minLength: 1, maxLength: 5 });
  const extremes = fc.constantFrom('0', '-1', '18446744073709551615', 1e300, -1, 0.5, '', '\0');
  fc.assert(
    fc.property(places, fc.oneof(extremes, fc.jsonValue()), (path, other) => {
      assertTold(() => {
        for (const { range } of parseMetadata(replaced(METADATA, path, other)).segments) {
          assert.ok(range.length > 0 && Number.isSafeInteger(range.offset + range.length));
        }
      });
    }),
    { numRuns: 1000 },
  );
});

test('bytes that are no JSON are an error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const place = { offset: 4096, volumeBytes: VOLUME_BYTES };
      assert.throws(() => parseLuks2Metadata(Buffer.from(bytes), place), isCofferError);
    }),
  );
});

function header(sizeBytes: number, ...starts: readonly string[]): fc.Arbitrary<Buffer> {
  const rest = fc.uint8Array({ minLength: sizeBytes, maxLength: sizeBytes, size: 'max' });
  return fc.tuple(fc.constantFrom(...starts), rest).map(([start, bytes]) => {
    const made = Buffer.from(bytes);
    made.write(start, 'latin1');
    return made;
  });
}

test('any header of LUKS1 is bounded, or an error', () => {
  const start = `LUKS\xba\xbe\0\x01${'aes'.padEnd(32, '\0')}${'xts-plain64'.padEnd(32, '\0')}`;
  const known = `${start}${'sha256'.padEnd(32, '\0')}\0\0\x10\0\0\0\0\x40`;
  fc.assert(
    fc.property(header(LUKS1_HEADER_BYTES, start, known), (bytes) => {
      assertTold(() => parseLuks1Header(bytes, VOLUME_BYTES));
    }),
  );
});

test('any binary header of LUKS2 is bounded, or an error', () => {
  const first = 'LUKS\xba\xbe\0\x02\0\0\0\0\0\0\x40\0';
  const second = 'SKUL\xba\xbe\0\x02\0\0\0\0\0\0\x40\0';
  const bytesOf = header(LUKS2_BINARY_BYTES, first, second);
  fc.assert(
    fc.property(bytesOf, fc.constantFrom(0, ...LUKS2_HEADER_BYTES), (bytes, offset) => {
      assertTold(() => {
        bytes.writeBigUInt64BE(BigInt(offset), 256);
        const parsed = parseBinaryHeader(bytes, offset);
        assert.ok(LUKS2_HEADER_BYTES.some((size) => size === parsed.headerBytes));
        assert.throws(() => metadataOf(bytes, parsed), isCofferError);
      });
    }),
  );
});
