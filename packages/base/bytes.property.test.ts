import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BinaryReader, BinaryWriter } from './bytes.ts';
import { isCofferError } from './errors.ts';

type Value =
  | { type: 'u8' | 'u16' | 'u32' | 'varint'; value: number }
  | { type: 'i64'; value: bigint }
  | { type: 'bytes'; value: Uint8Array };

const values = fc.array(
  fc.oneof(
    fc.record({ type: fc.constant('u8' as const), value: fc.nat(0xff) }),
    fc.record({ type: fc.constant('u16' as const), value: fc.nat(0xffff) }),
    fc.record({ type: fc.constant('u32' as const), value: fc.nat(0xffff_ffff) }),
    fc.record({ type: fc.constant('varint' as const), value: fc.maxSafeNat() }),
    fc.record({
      type: fc.constant('i64' as const),
      value: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    }),
    fc.record({ type: fc.constant('bytes' as const), value: fc.uint8Array({ maxLength: 300 }) }),
  ),
) satisfies fc.Arbitrary<Value[]>;

function written(list: readonly Value[]): Buffer {
  const writer = new BinaryWriter(1);
  for (const { type, value } of list) {
    if (type === 'i64') writer.i64(value);
    else if (type === 'bytes') writer.bytes(value);
    else writer[type](value);
  }
  return writer.finish();
}

test('what is written is read again, to the last byte', () => {
  fc.assert(
    fc.property(values, (list) => {
      const reader = new BinaryReader(written(list), 'test');
      for (const { type, value } of list) {
        if (type === 'bytes') assert.deepEqual(new Uint8Array(reader.bytes()), value);
        else assert.equal(reader[type](), value);
      }
      reader.end();
    }),
  );
});

test('bytes that end too early are damage, wherever they end', () => {
  fc.assert(
    fc.property(values, fc.nat(), (list, at) => {
      const bytes = written(list);
      fc.pre(bytes.length > 0);
      const reader = new BinaryReader(bytes.subarray(0, at % bytes.length), 'test');
      assert.throws(
        () => {
          for (const { type } of list) reader[type]();
        },
        (error) => isCofferError(error, 'object-damaged'),
      );
    }),
  );
});

test('any bytes are a number or damage, never anything else', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
      const reader = new BinaryReader(bytes, 'test');
      try {
        assert.ok(Number.isSafeInteger(reader.varint()));
      } catch (error) {
        assert.ok(isCofferError(error, 'object-damaged'));
      }
    }),
  );
});

test('lengths and counts are bounded before they are used', () => {
  const check = (read: (reader: BinaryReader) => unknown): void => {
    const reader = new BinaryReader(
      new BinaryWriter()
        .varint(2 ** 40)
        .u32(0)
        .finish(),
      'test',
    );
    assert.throws(
      () => read(reader),
      (error) => isCofferError(error, 'object-damaged'),
    );
  };
  check((reader) => reader.bytes());
  check((reader) => reader.bytes(100));
  check((reader) => reader.text());
  check((reader) => reader.count(1));
  check((reader) => reader.raw(100));
  check((reader) => reader.end());
});
