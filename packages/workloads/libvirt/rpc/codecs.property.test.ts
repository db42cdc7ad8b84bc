import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isCofferError } from '@coffer/base';
import { EVENTS } from './events.ts';
import { decodeSentError, encodeMessage, type Message, MessageSplitter } from './message-codec.ts';
import {
  agentProcedures,
  backupProcedures,
  blockProcedures,
  connectionProcedures,
  domainProcedures,
} from './procedures.ts';
import {
  type Domain,
  readCheckpoint,
  readDomain,
  readNamedObject,
  readParameters,
  writeCheckpoint,
  writeDomain,
  writeNamedObject,
} from './structures-codec.ts';
import { XdrReader, XdrWriter } from './xdr-codec.ts';

const int = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const uint = fc.nat({ max: 2 ** 32 - 1 });
const text = fc.string({ unit: 'binary' }).map((value) => value.toWellFormed());
const domain: fc.Arbitrary<Domain> = fc.record(
  { name: text, uuid: fc.uuid(), id: int },
  { noNullPrototype: true },
);
const bytes = fc.uint8Array().map((value) => Buffer.from(value));
const header = fc.record(
  { program: uint, version: uint, procedure: int, type: int, serial: uint, status: int },
  { noNullPrototype: true },
);
const messages = fc.array(fc.tuple(header, bytes), { maxLength: 5 });

function roundTrip<T>(
  value: T,
  write: (to: XdrWriter, value: T) => void,
  read: (from: XdrReader) => T,
): void {
  const writer = new XdrWriter();
  write(writer, value);
  const bytes = writer.finish();
  assert.equal(bytes.length % 4, 0);
  const reader = new XdrReader(bytes, 'test');
  assert.deepEqual(read(reader), value);
  reader.end();
}

test('structures are read as they were written', () => {
  fc.assert(
    fc.property(domain, text, (it, name) => {
      roundTrip(it, writeDomain, readDomain);
      roundTrip({ name, uuid: it.uuid }, writeNamedObject, readNamedObject);
      roundTrip({ name, domain: it }, writeCheckpoint, readCheckpoint);
    }),
  );
});

test('values that may be absent and lists are read as they were written', () => {
  fc.assert(
    fc.property(fc.option(text, { nil: undefined }), fc.array(int), (maybe, values) => {
      const writer = new XdrWriter();
      writer.optional(maybe, (it) => writer.text(it)).array(values, (it) => writer.i32(it));
      const reader = new XdrReader(writer.finish(), 'test');
      assert.equal(
        reader.optional(() => reader.text()),
        maybe,
      );
      assert.deepEqual(
        reader.array(values.length, () => reader.i32()),
        values,
      );
    }),
  );
});

test('the layout is that of RFC 4506', () => {
  const written = new XdrWriter().i32(-2).u32(1).text('abcde').finish().toString('hex');
  assert.equal(written, 'fffffffe' + '00000001' + '00000005' + '6162636465000000');
});

test('parameters of all types are read', () => {
  const writer = new XdrWriter().u32(7);
  const wide = (value: bigint): Buffer => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64BE(value);
    return bytes;
  };
  const double = Buffer.alloc(8);
  double.writeDoubleBE(1.5);
  writer
    .text('int')
    .i32(1)
    .i32(-1)
    .text('uint')
    .i32(2)
    .u32(2 ** 31);
  writer.text('long').i32(3).raw(wide(-5n)).text('ulong').i32(4).raw(wide(-1n));
  writer.text('double').i32(5).raw(double).text('bool').i32(6).i32(1);
  writer.text('text').i32(7).text('x');
  const values = readParameters(new XdrReader(writer.finish(), 'parameters'));
  assert.deepEqual(Object.fromEntries(values), {
    int: -1,
    uint: 2 ** 31,
    long: -5,
    ulong: 2 ** 64,
    double: 1.5,
    bool: true,
    text: 'x',
  });
});

test('messages are found again however the bytes are cut', () => {
  fc.assert(
    fc.property(messages, fc.integer({ min: 1, max: 70 }), (sent, pieceBytes) => {
      const bytes = Buffer.concat(sent.map(([head, payload]) => encodeMessage(head, payload)));
      const splitter = new MessageSplitter();
      const found: Message[] = [];
      for (let start = 0; start < bytes.length; start += pieceBytes) {
        found.push(...splitter.feed(bytes.subarray(start, start + pieceBytes)));
      }
      assert.deepEqual(
        found,
        sent.map(([head, payload]) => ({ ...head, payload })),
      );
    }),
  );
});

test('whatever bytes come, a codec gives a value or an error of Coffer', () => {
  const tables = [
    connectionProcedures,
    domainProcedures,
    backupProcedures,
    agentProcedures,
    blockProcedures,
    EVENTS,
  ];
  const decoders: ((from: XdrReader) => unknown)[] = tables
    .flatMap((table) => Object.values<{ decode: (from: XdrReader) => unknown }>(table))
    .map(({ decode }) => decode);
  // Small numbers are counts and lengths that can be believed.
  const word = fc.oneof(fc.constant(0), fc.nat(8), uint);
  const words = fc.array(word, { maxLength: 60 }).map((values) => {
    const writer = new XdrWriter();
    for (const each of values) writer.u32(each);
    return writer.finish();
  });
  fc.assert(
    fc.property(words, fc.constantFrom(...decoders), (input, decode) => {
      for (const run of [() => decode(new XdrReader(input, 'x')), () => decodeSentError(input)]) {
        try {
          run();
        } catch (error) {
          assert.ok(isCofferError(error, 'libvirt-failed'), String(error));
        }
      }
    }),
    { numRuns: 5000 },
  );
});
