/** Names of files: attributes of type 0x30, which are the keys of folders, too. */
import type { Fields } from './fields.ts';
import { parseReference, type Reference } from './record-codec.ts';

export interface FileName {
  /** The folder that has the name. */
  readonly parent: Reference;
  /** UTF-16, which need not be well formed. */
  readonly text: string;
  /** A second name of 8.3 characters for old programs; the file has another one. */
  readonly isShort: boolean;
}

const SHORT = 2;

export function parseFileName(key: Fields): FileName {
  return {
    parent: parseReference(key, 0),
    text: key.text(66, 2 * key.u8(64)),
    isShort: key.u8(65) === SHORT,
  };
}

/** UTF-8, in which halves of surrogate pairs are kept as they are, in three bytes. */
export function encodeName(text: string): Buffer {
  if (text.isWellFormed()) return Buffer.from(text, 'utf8');
  return Buffer.concat(Array.from(text, encodeCharacter));
}

function encodeCharacter(character: string): Buffer {
  if (character.isWellFormed()) return Buffer.from(character, 'utf8');
  const unit = character.charCodeAt(0);
  return Buffer.from([0xe0 | (unit >> 12), 0x80 | ((unit >> 6) & 0x3f), 0x80 | (unit & 0x3f)]);
}

/** The text of a name that is well-formed UTF-8; undefined for others. */
export function decodeName(name: Buffer): string | undefined {
  const text = name.toString('utf8');
  return Buffer.from(text, 'utf8').equals(name) ? text : undefined;
}

/** Compares as folders are sorted: by UTF-16 units in upper case, of which there is a table. */
export function compareNames(a: string, b: string, upperCase: Uint16Array): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index++) {
    const unitA = upperCase[a.charCodeAt(index)] ?? a.charCodeAt(index);
    const unitB = upperCase[b.charCodeAt(index)] ?? b.charCodeAt(index);
    if (unitA !== unitB) return unitA - unitB;
  }
  return a.length - b.length;
}
