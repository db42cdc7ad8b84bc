/** The messages of the handshake ("Handshake phase"). Pure: bytes to values and back. */
import { CofferError } from '@coffer/base';
import {
  IHAVEOPT,
  INFO,
  NBD_MAGIC,
  OPTION_REPLY_MAGIC,
  OPTION_SIZE_MAX,
  STRING_SIZE_MAX,
} from './protocol.ts';

export const GREETING_SIZE_BYTES = 18;
export const OPTION_HEADER_SIZE_BYTES = 16;
export const OPTION_REPLY_HEADER_SIZE_BYTES = 20;

export interface Option {
  readonly option: number;
  readonly data: Buffer;
}

export interface OptionReply {
  /** The option that it answers. */
  readonly option: number;
  readonly type: number;
  readonly data: Buffer;
}

export interface ExportInfo {
  readonly sizeBytes: number;
  readonly flags: number;
}

/** A server that asks for whole blocks asks for no larger ones ("Block size constraints"). */
const MIN_BLOCK_SIZE_MAX = 65_536;
/** The largest request of a server that has no limit. */
const UNLIMITED = 0xffffffff;

/** The sizes that an export asks requests to keep to ("Block size constraints"). */
export interface BlockSizes {
  readonly min: number;
  readonly preferred: number;
  readonly max: number;
}

export function encodeGreeting(flags: number): Buffer {
  const bytes = Buffer.alloc(GREETING_SIZE_BYTES);
  bytes.writeBigUInt64BE(NBD_MAGIC, 0);
  bytes.writeBigUInt64BE(IHAVEOPT, 8);
  bytes.writeUInt16BE(flags, 16);
  return bytes;
}

/** The handshake flags of the server. Fails with `nbd-protocol`. */
export function decodeGreeting(bytes: Buffer): number {
  expectSize(bytes, GREETING_SIZE_BYTES, 'a greeting');
  if (bytes.readBigUInt64BE(0) !== NBD_MAGIC) throw invalid('this is no NBD server');
  if (bytes.readBigUInt64BE(8) !== IHAVEOPT) throw invalid('the server speaks the oldstyle only');
  return bytes.readUInt16BE(16);
}

export function encodeClientFlags(flags: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(flags, 0);
  return bytes;
}

export function encodeOption({ option, data }: Option): Buffer {
  const header = Buffer.alloc(OPTION_HEADER_SIZE_BYTES);
  header.writeBigUInt64BE(IHAVEOPT, 0);
  header.writeUInt32BE(option, 8);
  header.writeUInt32BE(data.length, 12);
  return Buffer.concat([header, data]);
}

/** Fails with `nbd-protocol`. */
export function decodeOptionHeader(bytes: Buffer): { option: number; length: number } {
  expectSize(bytes, OPTION_HEADER_SIZE_BYTES, 'an option header');
  if (bytes.readBigUInt64BE(0) !== IHAVEOPT) throw invalid('an option without its magic');
  const length = bytes.readUInt32BE(12);
  if (length > OPTION_SIZE_MAX) throw invalid(`an option of ${length} bytes`);
  return { option: bytes.readUInt32BE(8), length };
}

export function encodeOptionReply({ option, type, data }: OptionReply): Buffer {
  const header = Buffer.alloc(OPTION_REPLY_HEADER_SIZE_BYTES);
  header.writeBigUInt64BE(OPTION_REPLY_MAGIC, 0);
  header.writeUInt32BE(option, 8);
  header.writeUInt32BE(type, 12);
  header.writeUInt32BE(data.length, 16);
  return Buffer.concat([header, data]);
}

/** Fails with `nbd-protocol`. */
export function decodeOptionReplyHeader(bytes: Buffer): {
  option: number;
  type: number;
  length: number;
} {
  expectSize(bytes, OPTION_REPLY_HEADER_SIZE_BYTES, 'an option reply header');
  if (bytes.readBigUInt64BE(0) !== OPTION_REPLY_MAGIC) throw invalid('a reply without its magic');
  const length = bytes.readUInt32BE(16);
  if (length > OPTION_SIZE_MAX) throw invalid(`an option reply of ${length} bytes`);
  return { option: bytes.readUInt32BE(8), type: bytes.readUInt32BE(12), length };
}

/** The data of `NBD_OPT_INFO` and `NBD_OPT_GO`. */
export function encodeGo(exportName: string, wanted: readonly number[]): Buffer {
  const counts = Buffer.alloc(2 + wanted.length * 2);
  counts.writeUInt16BE(wanted.length, 0);
  wanted.forEach((info, index) => counts.writeUInt16BE(info, 2 + index * 2));
  return Buffer.concat([lengthAndText(exportName), counts]);
}

/** Which export the client asks for; undefined when the data is not valid. */
export function decodeGo(data: Buffer): string | undefined {
  const name = textAt(data, 0);
  if (!name || data.length < name.end + 2) return undefined;
  return data.length === name.end + 2 + data.readUInt16BE(name.end) * 2 ? name.text : undefined;
}

export function encodeExportInfo({ sizeBytes, flags }: ExportInfo): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt16BE(INFO.export, 0);
  bytes.writeBigUInt64BE(BigInt(sizeBytes), 2);
  bytes.writeUInt16BE(flags, 10);
  return bytes;
}

export function encodeBlockSizes({ min, preferred, max }: BlockSizes): Buffer {
  const bytes = Buffer.alloc(14);
  bytes.writeUInt16BE(INFO.blockSize, 0);
  bytes.writeUInt32BE(min, 2);
  bytes.writeUInt32BE(preferred, 6);
  bytes.writeUInt32BE(max, 10);
  return bytes;
}

/** One `NBD_REP_INFO`; undefined for kinds of information that are of no use here. */
export function decodeInfo(
  data: Buffer,
): { readonly export: ExportInfo } | { readonly blockSizes: BlockSizes } | undefined {
  if (data.length < 2) throw invalid('information without a type');
  const type = data.readUInt16BE(0);
  if (type === INFO.export) {
    if (data.length !== 12) throw invalid('information on the export of another length');
    const sizeBytes = Number(data.readBigUInt64BE(2));
    if (!Number.isSafeInteger(sizeBytes)) throw invalid('an export of 8 PiB or more');
    return { export: { sizeBytes, flags: data.readUInt16BE(10) } };
  }
  if (type === INFO.blockSize) return { blockSizes: decodeBlockSizes(data) };
  return undefined;
}

function decodeBlockSizes(data: Buffer): BlockSizes {
  if (data.length !== 14) throw invalid('block sizes of another length');
  const sizes = {
    min: data.readUInt32BE(2),
    preferred: data.readUInt32BE(6),
    max: data.readUInt32BE(10),
  };
  const { min, preferred, max } = sizes;
  const isPowerOfTwo = min > 0 && (min & (min - 1)) === 0 && min <= MIN_BLOCK_SIZE_MAX;
  const isWhole = max === UNLIMITED || max % min === 0;
  // Of a small export, the most may be less than what is preferred.
  if (!isPowerOfTwo || !isWhole || preferred < min || max < min) {
    throw invalid(`block sizes ${min}, ${preferred}, ${max}`);
  }
  return sizes;
}

/** The data of `NBD_OPT_SET_META_CONTEXT` and `NBD_OPT_LIST_META_CONTEXT`. */
export function encodeContextQueries(exportName: string, queries: readonly string[]): Buffer {
  const count = Buffer.alloc(4);
  count.writeUInt32BE(queries.length, 0);
  return Buffer.concat([lengthAndText(exportName), count, ...queries.map(lengthAndText)]);
}

export interface ContextQueries {
  readonly exportName: string;
  readonly queries: readonly string[];
}

/** Undefined when the data is not valid. */
export function decodeContextQueries(data: Buffer): ContextQueries | undefined {
  const name = textAt(data, 0);
  if (!name || data.length < name.end + 4) return undefined;
  const count = data.readUInt32BE(name.end);
  const queries: string[] = [];
  let end = name.end + 4;
  for (let index = 0; index < count; index++) {
    const query = textAt(data, end);
    if (!query) return undefined;
    queries.push(query.text);
    ({ end } = query);
  }
  return end === data.length ? { exportName: name.text, queries } : undefined;
}

/** `NBD_REP_META_CONTEXT`: the number that a context has in replies, and its name. */
export function encodeContext(id: number, name: string): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(id, 0);
  return Buffer.concat([bytes, Buffer.from(name, 'utf8')]);
}

export function decodeContext(data: Buffer): { id: number; name: string } {
  if (data.length < 4 || data.length > 4 + STRING_SIZE_MAX) {
    throw invalid('a context of bad length');
  }
  return { id: data.readUInt32BE(0), name: data.toString('utf8', 4) };
}

/** `NBD_REP_SERVER`: one export of a list. */
export function encodeListed(name: string, description: string): Buffer {
  return Buffer.concat([lengthAndText(name), Buffer.from(description, 'utf8')]);
}

export function decodeListed(data: Buffer): { name: string; description: string } {
  const name = textAt(data, 0);
  if (!name) throw invalid('an export in a list without a name');
  if (data.length > name.end + STRING_SIZE_MAX) throw invalid('a description too long');
  return { name: name.text, description: data.toString('utf8', name.end) };
}

/** Fails with `nbd-protocol`: what came is not what the protocol says. */
export function invalid(reason: string): CofferError {
  return new CofferError('nbd-protocol', { reason });
}

/** Fails with `nbd-protocol` when a message of a fixed length has another one. */
export function expectSize(bytes: Buffer, size: number, what: string): void {
  if (bytes.length !== size) throw invalid(`${what} of ${bytes.length} bytes, not ${size}`);
}

function lengthAndText(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length, 0);
  return Buffer.concat([length, bytes]);
}

function textAt(data: Buffer, offset: number): { text: string; end: number } | undefined {
  if (data.length < offset + 4) return undefined;
  const length = data.readUInt32BE(offset);
  const end = offset + 4 + length;
  if (length > STRING_SIZE_MAX || end > data.length) return undefined;
  return { text: data.toString('utf8', offset + 4, end), end };
}
