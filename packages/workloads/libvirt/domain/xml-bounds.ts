/**
 * Bounds of XML from outside, told before a parser sees it: length, depth, count of nodes, and no
 * document type, so there are no entities but the five that XML has.
 *
 * For as far as a text is well-formed this scan and a parser see the same tags: quotes hide `>`
 * inside of tags, and only comments, CDATA and instructions hide `<`. Beyond the first mistake it
 * does not matter, since the parser goes no further either.
 */
import { CofferError } from '@coffer/base';

/** A definition of a hundred disks has 40 KiB; libvirt itself takes at most 4 MiB in a message. */
export const XML_LENGTH_MAX = 16 * 1024 * 1024;

/** The deepest elements of libvirt are long backing chains, one level for each overlay. */
export const XML_DEPTH_MAX = 256;

/** So that the tree of nodes stays below 100 MiB, whatever the text is. */
export const XML_NODES_MAX = 200_000;

/** Fails with `libvirt-failed` and the reason when the text is beyond the bounds. */
export function assertWithinBounds(text: string): void {
  if (text.length > XML_LENGTH_MAX) throw beyond('XML too long', XML_LENGTH_MAX);
  let depth = 0;
  let nodes = 0;
  let at = text.indexOf('<');
  while (at !== -1) {
    const markup = markupAt(text, at);
    depth += markup.deeper;
    nodes += 1;
    if (depth > XML_DEPTH_MAX) throw beyond('XML too deep', at);
    if (nodes > XML_NODES_MAX) throw beyond('XML of too many nodes', at);
    at = text.indexOf('<', markup.end);
  }
}

interface Markup {
  /** Offset of what follows, in UTF-16 units. */
  readonly end: number;
  readonly deeper: -1 | 0 | 1;
}

function markupAt(text: string, at: number): Markup {
  if (text.startsWith('<!--', at)) return { end: after(text, '-->', at + 4), deeper: 0 };
  if (text.startsWith('<![CDATA[', at)) return { end: after(text, ']]>', at + 9), deeper: 0 };
  if (text.startsWith('<?', at)) return { end: after(text, '?>', at + 2), deeper: 0 };
  if (text.startsWith('<!', at)) throw beyond('XML with a document type', at);
  const end = endOfTag(text, at + 1);
  if (text[at + 1] === '/') return { end, deeper: -1 };
  return { end, deeper: text[end - 2] === '/' ? 0 : 1 };
}

function after(text: string, mark: string, from: number): number {
  const at = text.indexOf(mark, from);
  if (at === -1) throw beyond('XML cut off', from);
  return at + mark.length;
}

function endOfTag(text: string, from: number): number {
  let at = from;
  while (at < text.length) {
    const char = text[at];
    if (char === '>') return at + 1;
    at = char === '"' || char === "'" ? after(text, char, at + 1) : at + 1;
  }
  throw beyond('XML cut off', from);
}

function beyond(reason: string, offset: number): CofferError {
  return new CofferError('libvirt-failed', { reason, offset });
}
