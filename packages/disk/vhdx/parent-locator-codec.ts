/**
 * The parent locator: which image is the parent of a differencing one, and where it may be found
 * ([MS-VHDX] 2.6.2.6).
 */
import { damaged, type Place, unsupported, within } from './damage.ts';
import { decodeGuid, encodeGuid, GUID_BYTES, parseGuid } from '../guid-codec.ts';

const VHDX_TYPE = 'b04aefb7-d19e-4a81-b789-25b8e9445913';
const HEADER_BYTES = 20;
const ENTRY_BYTES = 12;
/** Five are known. */
const ENTRY_COUNT_MAX = 256;

export interface ParentLocator {
  /** The parent is the image whose DataWriteGuid is one of these. */
  readonly linkages: readonly string[];
  /** Windows paths as they are stored. */
  readonly relativePath: string | undefined;
  readonly absolutePath: string | undefined;
}

/** Fails with `image-damaged`, or `image-unsupported` when the parent is no VHDX. */
export function decodeParentLocator(bytes: Buffer, place: Place): ParentLocator {
  if (bytes.length < HEADER_BYTES) throw damaged(place, `only ${bytes.length} bytes`);
  const type = decodeGuid(bytes, 0);
  if (type !== VHDX_TYPE) throw unsupported(place, `a parent of the type ${type}`);
  const entries = decodeEntries(bytes, place);
  const linkages = [entries.get('parent_linkage'), entries.get('parent_linkage2')]
    .map((text) => text !== undefined && parseGuid(text))
    .filter((guid) => typeof guid === 'string');
  if (linkages.length === 0) throw damaged(place, 'it does not identify the parent');
  return {
    linkages,
    relativePath: entries.get('relative_path'),
    absolutePath: entries.get('absolute_win32_path'),
  };
}

/** The locator of the parent with that DataWriteGuid. */
export function encodeParentLocator(
  dataWriteGuid: string,
  paths: { readonly relativePath: string; readonly absolutePath: string },
): Buffer {
  const entries = [
    ['parent_linkage', `{${dataWriteGuid}}`],
    ['relative_path', paths.relativePath],
    ['absolute_win32_path', paths.absolutePath],
  ];
  const texts = entries.flat().map((text) => Buffer.from(text, 'utf16le'));
  const table = Buffer.alloc(HEADER_BYTES + entries.length * ENTRY_BYTES);
  encodeGuid(VHDX_TYPE).copy(table);
  table.writeUInt16LE(entries.length, GUID_BYTES + 2);
  let offset = table.length;
  for (const [index, text] of texts.entries()) {
    const start = HEADER_BYTES + Math.floor(index / 2) * ENTRY_BYTES;
    const isValue = index % 2;
    table.writeUInt32LE(offset, start + isValue * 4);
    table.writeUInt16LE(text.length, start + 8 + isValue * 2);
    offset += text.length;
  }
  return Buffer.concat([table, ...texts]);
}

function decodeEntries(bytes: Buffer, place: Place): Map<string, string> {
  const count = bytes.readUInt16LE(GUID_BYTES + 2);
  if (count > ENTRY_COUNT_MAX || HEADER_BYTES + count * ENTRY_BYTES > bytes.length) {
    throw damaged(place, `${count} entries`);
  }
  const entries = new Map<string, string>();
  for (let index = 0; index < count; index++) {
    const start = HEADER_BYTES + index * ENTRY_BYTES;
    const entryPlace = within(place, start);
    const key = { offset: bytes.readUInt32LE(start), length: bytes.readUInt16LE(start + 8) };
    const value = { offset: bytes.readUInt32LE(start + 4), length: bytes.readUInt16LE(start + 10) };
    const name = textAt(bytes, key, entryPlace);
    if (entries.has(name)) throw damaged(entryPlace, 'a key is there twice');
    entries.set(name, textAt(bytes, value, entryPlace));
  }
  return entries;
}

function textAt(
  bytes: Buffer,
  { offset, length }: { readonly offset: number; readonly length: number },
  place: Place,
): string {
  if (length === 0 || length % 2 !== 0 || offset < HEADER_BYTES || offset + length > bytes.length) {
    throw damaged(place, `a text of ${length} bytes at ${offset}`);
  }
  const text = bytes.toString('utf16le', offset, offset + length);
  if (text.includes('\0')) throw damaged(place, 'a text with a zero in it');
  return text;
}
