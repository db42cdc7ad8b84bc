/**
 * Paths as text that loses no byte. Names are bytes, and need not be UTF-8: a byte that belongs to no
 * character is the code unit U+DC00 + byte, which no text has by itself. It goes through JSON, through
 * `path.resolve` and through patterns as it is.
 */
import { isUtf8 } from 'node:buffer';

const ESCAPE = 0xdc00;

export function textOfBytes(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString('utf8');
  let text = '';
  for (let at = 0; at < bytes.length;) {
    const length = characterLength(bytes, at);
    text += length === 0 ? escaped(bytes[at]!) : bytes.toString('utf8', at, at + length);
    at += Math.max(length, 1);
  }
  return text;
}

/** Bytes of the character at a place; 0 where there is none. */
function characterLength(bytes: Buffer, at: number): number {
  for (let length = 1; length <= 4 && at + length <= bytes.length; length++) {
    if (isUtf8(bytes.subarray(at, at + length))) return length;
  }
  return 0;
}

function escaped(byte: number): string {
  return String.fromCharCode(ESCAPE + byte);
}

export function bytesOfText(text: string): Buffer {
  if (text.isWellFormed()) return Buffer.from(text, 'utf8');
  const parts = Array.from(text, (character) => {
    const byte = escapedByte(character);
    return byte === undefined ? Buffer.from(character, 'utf8') : Buffer.of(byte);
  });
  return Buffer.concat(parts);
}

function escapedByte(character: string): number | undefined {
  const byte = character.charCodeAt(0) - ESCAPE;
  return byte >= 0x80 && byte <= 0xff ? byte : undefined;
}

/** For names of other things, and for people: `\xE9` for a byte that belongs to no character. */
export function shownText(text: string): string {
  if (text.isWellFormed()) return text;
  const parts = Array.from(text, (character) => {
    const byte = escapedByte(character);
    return byte === undefined ? character : `\\x${byte.toString(16).toUpperCase()}`;
  });
  return parts.join('').toWellFormed();
}
