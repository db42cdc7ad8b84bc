/** GUIDs: 16 bytes, of which the first three fields are little-endian; as text in lower case. */
import type { Random } from '@coffer/base';

export const GUID_BYTES = 16;
export const ZERO_GUID = '00000000-0000-0000-0000-000000000000';

const TEXT = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export function decodeGuid(bytes: Buffer, offset: number): string {
  const hex = swapped(bytes.subarray(offset, offset + GUID_BYTES)).toString('hex');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

export function encodeGuid(guid: string): Buffer {
  return swapped(Buffer.from(guid.replaceAll('-', ''), 'hex'));
}

/** The GUID in a text such as `{83ED0EC3-24C8-49A6-A959-5E4BF1288BFB}`; undefined when it is none. */
export function parseGuid(text: string): string | undefined {
  const guid = text
    .trim()
    .replace(/^\{|\}$/g, '')
    .toLowerCase();
  return TEXT.test(guid) ? guid : undefined;
}

/** A random GUID, of version 4 (RFC 9562, 5.4). */
export function randomGuid(random: Random): string {
  const bytes = random.bytes(GUID_BYTES);
  bytes[7] = (bytes[7]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return decodeGuid(bytes, 0);
}

/** It is its own inverse. */
function swapped(bytes: Buffer): Buffer {
  const result = Buffer.from(bytes);
  result.subarray(0, 4).swap32();
  result.subarray(4, 8).swap16();
  return result;
}
