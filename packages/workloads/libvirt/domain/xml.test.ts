import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCofferError } from '@coffer/base';
import fc from 'fast-check';
import { FULL } from './testing/definitions.ts';
import { element, parseXml, serializeXml, type XmlElement } from './xml.ts';
import { XML_DEPTH_MAX, XML_LENGTH_MAX, XML_NODES_MAX } from './xml-bounds.ts';

function refused(text: string, reason: RegExp): void {
  assert.throws(
    () => parseXml(text, 'r'),
    (error) => {
      assert.ok(isCofferError(error, 'libvirt-failed'), String(error));
      assert.match(String(error.details['reason']), reason);
      return true;
    },
  );
}

test('what is not known comes out as it went in', () => {
  const again = serializeXml(parseXml(FULL, 'domain'));
  assert.equal(again, FULL);
  const text = `<r a='1&#10;2&#9;"&apos;' b:c=''>\n <!-- c --><?p i?> &amp;&lt;&gt;&#13;<![CDATA[<]]></r>`;
  assert.equal(serializeXml(parseXml(text, 'r')), `${text}\n`);
});

test('text and attributes of any kind survive', () => {
  // XML 2.2: what a document cannot hold at all, however it is written.
  const impossible = /[\p{Cs}\ufffe\uffff]|(?![\t\n\r])\p{Cc}/u;
  const character = fc
    .oneof(
      fc.constantFrom('<', '>', '&', "'", '"', '\n', '\r', '\t', ' ', ']', '-', '/'),
      fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
    )
    .filter((text) => !impossible.test(text));
  const text = fc.array(character, { maxLength: 12 }).map((characters) => characters.join(''));
  const tree = fc.letrec<{ node: XmlElement }>((tie) => ({
    node: fc
      .tuple(
        fc.constantFrom('a', 'b:c', '_d', 'constructor', '__proto__'),
        fc.dictionary(fc.constantFrom('x', 'y:z', 'toString'), text),
        fc.array(fc.oneof({ maxDepth: 4 }, text, tie('node')), { maxLength: 3 }),
      )
      .map(([name, attributes, children]) => element(name, attributes, children)),
  })).node;
  fc.assert(
    fc.property(tree, (root) => {
      const xml = serializeXml(root);
      assert.equal(serializeXml(parseXml(xml, root.name)), `${xml}\n`);
    }),
  );
});

test('document types are refused, and with them all entities', () => {
  refused('<!DOCTYPE r SYSTEM "file:///etc/passwd"><r/>', /document type/);
  refused('<!DOCTYPE r [<!ENTITY a "b">]><r>&a;</r>', /document type/);
  refused('<r>&a;</r>', /not well-formed/);
  refused('<r>&#0;</r>', /not well-formed/);
  assert.equal(parseXml('<r><!-- <!DOCTYPE --><![CDATA[<!DOCTYPE]]></r>', 'r').root?.name, 'r');
});

test('depth, length and count of nodes are bounded', () => {
  const nested = (depth: number): string => `${'<r>'.repeat(depth)}${'</r>'.repeat(depth)}`;
  parseXml(nested(XML_DEPTH_MAX), 'r');
  refused(nested(XML_DEPTH_MAX + 1), /too deep/);
  refused('<r>'.repeat(1_000_000), /too deep/);
  // A slash in quotes does not close a tag, and so hides no depth.
  refused(`<r a="/>">`.repeat(XML_DEPTH_MAX + 1), /too deep/);
  refused(`<r a='/>' b=">"/ >`.repeat(XML_DEPTH_MAX + 1), /too deep|not well-formed/);
  refused(`<r>${'<a/>'.repeat(XML_NODES_MAX)}</r>`, /too many nodes/);
  refused(`<r>${'<!---->'.repeat(XML_NODES_MAX)}</r>`, /too many nodes/);
  refused(`<r>${'x'.repeat(XML_LENGTH_MAX)}</r>`, /too long/);
});

test('text that is no XML is refused', () => {
  for (const text of ['', ' ', 'r', '<', '<r', '<r a="', '<r><!--', '<r><![CDATA[', '<r><?p']) {
    refused(text, /cut off|not well-formed/);
  }
  for (const text of ['<r></q>', '<r/><r/>', '<r a=1/>', '<r a="1" a="2"/>', '<r>\0</r>']) {
    refused(text, /not well-formed/);
  }
  refused('<q/>', /without <r>/);
});

test('cut and changed definitions fail with libvirt-failed only, and soon', () => {
  const strange = fc.constantFrom(
    '<',
    '>',
    '&',
    '"',
    "'",
    '/',
    '<!',
    '<!--',
    ']]>',
    '\0',
    '\ud800',
  );
  fc.assert(
    fc.property(
      fc.nat(FULL.length),
      fc.nat(FULL.length),
      fc.array(strange, { maxLength: 3 }),
      (from, to, put) => {
        const text = FULL.slice(0, from) + put.join('') + FULL.slice(to);
        try {
          parseXml(text, 'domain');
        } catch (error) {
          assert.ok(isCofferError(error, 'libvirt-failed'), String(error));
        }
      },
    ),
  );
});
