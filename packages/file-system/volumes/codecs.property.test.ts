import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import fc from 'fast-check';
import { DETECTED_BYTES, detectIn } from './detect-codec.ts';
import { parseGptHeader } from './gpt-codec.ts';
import { parseLvmAreaHeader, parseLvmLabel } from './lvm-label-codec.ts';
import { parseLvmMetadata } from './lvm-metadata-codec.ts';
import { parseLvmText } from './lvm-text-codec.ts';
import { parseMbr } from './mbr-codec.ts';

function assertTold(parse: () => unknown): void {
  try {
    parse();
  } catch (error) {
    if (!isCofferError(error)) throw error;
  }
}

const sector = fc.uint8Array({ minLength: 512, maxLength: 512 }).map((bytes) => Buffer.from(bytes));

test('any sector is a table or a label, none, or damage that is told', () => {
  fc.assert(
    fc.property(sector, (bytes) => {
      bytes.writeUInt16LE(0xaa55, 510);
      for (const entry of parseMbr(bytes) ?? []) assert.ok(entry.sectorCount > 0);
      bytes.write('EFI PART');
      assert.equal(parseGptHeader(bytes, 1), undefined, 'a checksum is not right by chance');
      bytes.write('LABELONE');
      bytes.write('LVM2 001', 24);
      assertTold(() => parseLvmLabel(bytes));
      assertTold(() => parseLvmAreaHeader(bytes, { offset: 4096, length: 8192 }));
    }),
  );
});

test('any start of a volume is of some kind, and its size is one', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 2048, maxLength: 2048 }), (bytes) => {
      const head = Buffer.alloc(DETECTED_BYTES);
      head.set(bytes);
      for (const [offset, mark] of [
        [1080, 0xef53],
        [510, 0xaa55],
        [11, 512],
      ] as const) {
        head.writeUInt16LE(mark, offset);
        const { sizeBytes } = detectIn(head, 1_000_000);
        assert.ok(Number.isSafeInteger(sizeBytes) && sizeBytes > 0);
      }
    }),
  );
});

const word = fc.constantFrom('a', 'segment1', '"text"', '12', '=', '{', '}', '[', ']', ',', '#x\n');

test('any words are text of LVM2, or damage that is told', () => {
  fc.assert(
    fc.property(fc.array(word), (words) => {
      assertTold(() => parseLvmText(words.join(' ')));
      assertTold(() => parseLvmMetadata(`group { seqno = 1 ${words.join(' ')}`));
    }),
    { numRuns: 1000 },
  );
});
