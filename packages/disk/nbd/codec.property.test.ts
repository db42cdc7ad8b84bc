/** The codecs: what is encoded is decoded, and what is malformed is refused without surprises. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isCofferError } from '@coffer/base';
import * as handshake from './handshake-codec.ts';
import { STRING_SIZE_MAX } from './protocol.ts';
import * as transmission from './transmission-codec.ts';

const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const text = fc.string({ unit: 'binary', maxLength: 300 });
const bytes = fc.uint8Array({ maxLength: 300 }).map((each) => Buffer.from(each));

/** A plain object, as decoders make them. */
const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record<T>(model, { noNullPrototype: true });

/** What is decoded is what was encoded. */
function check<T>(name: string, values: fc.Arbitrary<T>, roundTrip: (value: T) => unknown): void {
  test(`${name}: round trip`, () => {
    fc.assert(fc.property(values, (value) => assert.deepEqual(roundTrip(value), value)));
  });
}

check('greeting', u16, (flags) => handshake.decodeGreeting(handshake.encodeGreeting(flags)));
check('option', record({ option: u32, data: bytes }), (value) => {
  const encoded = handshake.encodeOption(value);
  const { option, length } = handshake.decodeOptionHeader(encoded.subarray(0, 16));
  assert.equal(encoded.length, 16 + length);
  return { option, data: encoded.subarray(16) };
});
check('option reply', record({ option: u32, type: u32, data: bytes }), (value) => {
  const encoded = handshake.encodeOptionReply(value);
  const { length, ...rest } = handshake.decodeOptionReplyHeader(encoded.subarray(0, 20));
  assert.equal(encoded.length, 20 + length);
  return { ...rest, data: encoded.subarray(20) };
});
check('go', text, (name) => handshake.decodeGo(handshake.encodeGo(name, [3, 0])));
check('information on an export', record({ sizeBytes: fc.maxSafeNat(), flags: u16 }), (info) => {
  const decoded = handshake.decodeInfo(handshake.encodeExportInfo(info));
  return decoded && 'export' in decoded ? decoded.export : undefined;
});
const blockSizes = record({
  log: fc.nat(16),
  preferred: fc.nat(6),
  max: fc.integer({ min: 1, max: 500 }),
}).map(({ log, preferred, max }) => {
  const min = 2 ** log;
  return { min, preferred: min * 2 ** preferred, max: max === 500 ? 0xffffffff : min * max };
});
check('block sizes', blockSizes, (sizes) => {
  const decoded = handshake.decodeInfo(handshake.encodeBlockSizes(sizes));
  return decoded && 'blockSizes' in decoded ? decoded.blockSizes : undefined;
});
check(
  'queries of contexts',
  record({ exportName: text, queries: fc.array(text, { maxLength: 9 }) }),
  ({ exportName, queries }) =>
    handshake.decodeContextQueries(handshake.encodeContextQueries(exportName, queries)),
);
check('context', record({ id: u32, name: text }), ({ id, name }) =>
  handshake.decodeContext(handshake.encodeContext(id, name)),
);
check('listed export', record({ name: text, description: text }), ({ name, description }) =>
  handshake.decodeListed(handshake.encodeListed(name, description)),
);
check(
  'request',
  record({ flags: u16, command: u16, cookie: u64, offset: u64, length: u32 }),
  (request) => transmission.decodeRequest(transmission.encodeRequest(request)),
);
check('simple reply', record({ cookie: u64, error: u32 }), ({ cookie, error }) => {
  const head = transmission.decodeReplyHead(transmission.encodeSimpleReply(cookie, error));
  return head.form === 'simple' ? { cookie: head.cookie, error: head.error } : undefined;
});
check(
  'error chunk',
  record({ error: u32, message: fc.string({ unit: 'binary', maxLength: 100 }) }),
  ({ error, message }) => {
    const encoded = transmission.encodeError(7n, error, message);
    const head = transmission.decodeReplyHead(encoded.subarray(0, 16));
    assert.deepEqual(head, { form: 'chunk', isLast: true, type: 0x8001, cookie: 7n });
    return transmission.decodeError(0x8001, encoded.subarray(20));
  },
);
check(
  'block status',
  record({
    contextId: u32,
    descriptors: fc.array(record({ length: fc.integer({ min: 1, max: 0xffffffff }), flags: u32 }), {
      minLength: 1,
      maxLength: 50,
    }),
  }),
  ({ contextId, descriptors }) => {
    const encoded = transmission.encodeBlockStatus(1n, contextId, descriptors);
    assert.equal(encoded.readUInt32BE(16), encoded.length - 20);
    return transmission.decodeBlockStatus(encoded.subarray(20));
  },
);

/** Every decoder, and a message that it takes. */
const decoders: [string, (data: Buffer) => unknown, Buffer][] = [
  ['greeting', handshake.decodeGreeting, handshake.encodeGreeting(3)],
  [
    'option header',
    handshake.decodeOptionHeader,
    handshake.encodeOption({ option: 7, data: Buffer.alloc(0) }),
  ],
  [
    'option reply header',
    handshake.decodeOptionReplyHeader,
    handshake.encodeOptionReply({ option: 7, type: 1, data: Buffer.alloc(0) }),
  ],
  ['go', handshake.decodeGo, handshake.encodeGo('name', [3])],
  [
    'information on an export',
    handshake.decodeInfo,
    handshake.encodeExportInfo({ sizeBytes: 512, flags: 1 }),
  ],
  [
    'block sizes',
    handshake.decodeInfo,
    handshake.encodeBlockSizes({ min: 512, preferred: 4096, max: 1 << 20 }),
  ],
  [
    'queries of contexts',
    handshake.decodeContextQueries,
    handshake.encodeContextQueries('name', ['base:', 'qemu:']),
  ],
  ['context', handshake.decodeContext, handshake.encodeContext(1, 'base:allocation')],
  ['listed export', handshake.decodeListed, handshake.encodeListed('name', 'words')],
  [
    'request',
    transmission.decodeRequest,
    transmission.encodeRequest({ flags: 0, command: 0, cookie: 1n, offset: 0n, length: 512 }),
  ],
  ['reply', transmission.decodeReplyHead, transmission.encodeSimpleReply(1n, 0)],
  ['hole', transmission.decodeHole, Buffer.alloc(12, 1)],
  [
    'error',
    (data) => transmission.decodeError(0x8001, data),
    transmission.encodeError(1n, 5, 'words').subarray(20),
  ],
  [
    'block status',
    transmission.decodeBlockStatus,
    transmission
      .encodeBlockStatus(1n, 1, [
        { length: 512, flags: 0 },
        { length: 1024, flags: 3 },
      ])
      .subarray(20),
  ],
];

for (const [name, decode, valid] of decoders) {
  test(`${name}: what is malformed is a failure of the protocol, or nothing`, () => {
    assert.notEqual(decode(valid), undefined);
    const damaged = fc
      .tuple(fc.nat(valid.length + 8), fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255))))
      .map(([length, changes]) => {
        const data = Buffer.concat([valid, Buffer.alloc(8)]);
        for (const [place, value] of changes) data[place] = value;
        return data.subarray(0, length);
      });
    fc.assert(
      fc.property(fc.oneof(damaged, bytes), (data) => {
        try {
          decode(data);
        } catch (error) {
          assert.ok(isCofferError(error, 'nbd-protocol'), String(error));
        }
      }),
    );
  });
}

test('strings are bounded, whatever their length says', () => {
  const long = 'x'.repeat(STRING_SIZE_MAX + 1);
  assert.equal(handshake.decodeGo(handshake.encodeGo(long, [])), undefined);
  const refused = (error: unknown): boolean => isCofferError(error, 'nbd-protocol');
  assert.throws(() => handshake.decodeListed(handshake.encodeListed(long, '')), refused);
  assert.throws(() => handshake.decodeListed(handshake.encodeListed('', long)), refused);
  assert.throws(() => handshake.decodeContext(handshake.encodeContext(1, long)), refused);
});

test('block sizes that cannot be are refused', () => {
  const refused = (error: unknown): boolean => isCofferError(error, 'nbd-protocol');
  for (const [min, preferred, max] of [
    [0, 4096, 4096],
    [3, 4096, 4096],
    [131_072, 131_072, 131_072],
    [4096, 512, 4096],
    [4096, 4096, 512],
    [4096, 4096, 5000],
  ] as const) {
    const encoded = handshake.encodeBlockSizes({ min, preferred, max });
    assert.throws(() => handshake.decodeInfo(encoded), refused, `${min} ${preferred} ${max}`);
  }
});
