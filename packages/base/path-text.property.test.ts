import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bytesOfText, shownText, textOfBytes } from './path-text.ts';

const anyBytes = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 6 }),
      fc.string({ unit: 'binary', maxLength: 4 }).map((text) => Buffer.from(text)),
    ),
  )
  .map((parts) => Buffer.concat(parts));

test('any bytes come back from their text, and from JSON of it', () => {
  fc.assert(
    fc.property(anyBytes, (bytes) => {
      const text = textOfBytes(bytes);
      assert.deepEqual(bytesOfText(text), bytes);
      assert.deepEqual(bytesOfText(JSON.parse(JSON.stringify(text)) as string), bytes);
    }),
  );
});

test('bytes that are UTF-8 are the text that they are', () => {
  for (const text of ['', 'plain', 'Grüße/文', '\u{1f600}']) {
    assert.equal(textOfBytes(Buffer.from(text)), text);
    assert.equal(shownText(text), text);
  }
});

test('people are shown which bytes belong to no character', () => {
  assert.equal(shownText(textOfBytes(Buffer.from('caf\xe9/\xff', 'latin1'))), 'caf\\xE9/\\xFF');
});
