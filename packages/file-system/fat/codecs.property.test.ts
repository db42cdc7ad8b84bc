import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import fc from 'fast-check';
import { parseFatBoot } from './boot-codec.ts';
import { codePage437 } from './code-page-codec.ts';
import { parseFatFolder } from './directory-codec.ts';
import { parseExfatBoot } from './exfat-boot-codec.ts';
import { parseExfatFolder } from './exfat-directory-codec.ts';
import { dosTimeNs, zoneNs } from './time-codec.ts';

const SECOND_NS = 1_000_000_000n;

/** Records with the marks that each codec looks for at the start of some. */
function records(marks: readonly number[], flags: readonly number[]): fc.Arbitrary<Buffer> {
  const record = fc
    .tuple(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.option(fc.constantFrom(...marks)),
      fc.option(fc.constantFrom(...flags)),
    )
    .map(([bytes, mark, flag]) => {
      const copy = Buffer.from(bytes);
      if (mark !== null) copy[0] = mark;
      if (flag !== null) copy[11] = flag;
      return copy;
    });
  return fc.array(record, { maxLength: 30 }).map((parts) => Buffer.concat(parts));
}

test('any records are a folder of FAT, with names that a folder can have', () => {
  const folder = records([0xe5, 0x41, 0x42, 0x01, 0x2e], [0x0f, 0x10, 0x20, 0x08]);
  fc.assert(
    fc.property(folder, (bytes) => {
      for (const { name, modifiedNs } of parseFatFolder(bytes).entries) {
        assert.ok(name.length > 0 && name.length <= 255 && !name.includes(0x2f));
        assert.equal(typeof modifiedNs, 'bigint');
      }
    }),
    { numRuns: 500 },
  );
});

test('any records are a folder of exFAT', () => {
  fc.assert(
    fc.property(records([0x85, 0xc0, 0xc1], [0]), (bytes) => {
      parseExfatFolder(bytes);
    }),
    { numRuns: 500 },
  );
});

test('any boot sector is one, or damage that is told', () => {
  const sector = fc.uint8Array({ minLength: 512, maxLength: 512 }).map((bytes) => {
    const copy = Buffer.from(bytes);
    copy.writeUInt16LE(512, 11);
    copy[13] = 1 << (copy[13]! & 7);
    copy[108] = 9 + (copy[108]! & 3);
    copy[109]! &= 7;
    return copy;
  });
  fc.assert(
    fc.property(sector, (bytes) => {
      for (const parse of [parseFatBoot, parseExfatBoot]) {
        try {
          const geometry = parse(bytes);
          for (const value of Object.values(geometry)) {
            if (typeof value === 'number') assert.ok(Number.isSafeInteger(value) && value >= 0);
          }
        } catch (error) {
          if (!isCofferError(error)) throw error;
        }
      }
    }),
    { numRuns: 500 },
  );
});

test('times keep the clock on the wall, to two seconds', () => {
  const seconds = { min: Date.UTC(1980, 0, 1) / 1000, max: Date.UTC(2107, 11, 31) / 1000 };
  fc.assert(
    fc.property(fc.integer(seconds), (second) => {
      const at = new Date((second - (second % 2)) * 1000);
      const date =
        ((at.getUTCFullYear() - 1980) << 9) | ((at.getUTCMonth() + 1) << 5) | at.getUTCDate();
      const time = (at.getUTCHours() << 11) | (at.getUTCMinutes() << 5) | (at.getUTCSeconds() / 2);
      assert.equal(dosTimeNs(date, time), BigInt(at.getTime()) * 1_000_000n);
    }),
  );
  assert.equal(zoneNs(0x80 | 8), 7200n * SECOND_NS, 'two hours east');
  assert.equal(zoneNs(0x80 | 0x7c), -3600n * SECOND_NS, 'one hour west');
  assert.equal(zoneNs(8), 0n, 'not known');
});

test('the code page has a character for each byte', () => {
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
  const text = codePage437(bytes);
  assert.equal(text.length, 256);
  assert.equal(new Set(text).size, 256);
});
