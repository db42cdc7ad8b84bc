// What decompresses bytes of a volume takes any bytes: it ends, within its target, or tells damage.

import { test } from 'node:test';
import fc from 'fast-check';
import { assertOnlyTold } from '../testing/file-system-contract.ts';
import { decompress } from './decompress.ts';
import { Fields } from './fields.ts';

const LZO_SEGMENT = [0x11, 0x20, 0x40, 0x15, 0x00, 0x01, 0x80, 0x1f, 0xff];

for (const algorithm of ['lzo', 'zlib', 'zstd'] as const) {
  test(`${algorithm}: bytes of any kind are content, or damage`, async () => {
    const byte = fc.oneof(fc.nat(255), fc.constantFrom(...LZO_SEGMENT));
    await fc.assert(
      fc.asyncProperty(fc.array(byte, { maxLength: 300 }), async (values) => {
        const source = new Fields(withHeader(algorithm, values), 'extent', 0);
        await assertOnlyTold(async () => {
          await decompress(source, { algorithm, sizeBytes: 9000 }, 4096);
        }, algorithm);
      }),
      { numRuns: 1000 },
    );
  });
}

/** So that what comes behind the headers is looked at. */
function withHeader(algorithm: 'lzo' | 'zlib' | 'zstd', values: readonly number[]): Buffer {
  if (algorithm === 'zlib') return Buffer.from([0x78, 0x01, ...values]);
  if (algorithm === 'zstd') return Buffer.from([0x28, 0xb5, 0x2f, 0xfd, ...values]);
  const header = Buffer.alloc(8);
  header.writeUInt32LE(values.length + 8, 0);
  header.writeUInt32LE(values.length, 4);
  return Buffer.concat([header, Buffer.from(values)]);
}
