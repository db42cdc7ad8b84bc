/** The messages of the transmission phase. Pure: bytes to values and back. */
import { expectSize, invalid } from './handshake-codec.ts';
import {
  CHUNK,
  CHUNK_DONE,
  CHUNK_HEADER_SIZE_BYTES,
  REQUEST_MAGIC,
  REQUEST_SIZE_BYTES,
  SIMPLE_REPLY_MAGIC,
  SIMPLE_REPLY_SIZE_BYTES,
  STRUCTURED_REPLY_MAGIC,
} from './protocol.ts';

/** In characters. */
const ERROR_MESSAGE_LENGTH_MAX = 256;

export interface Request {
  readonly flags: number;
  readonly command: number;
  readonly cookie: bigint;
  readonly offset: bigint;
  readonly length: number;
}

export function encodeRequest({ flags, command, cookie, offset, length }: Request): Buffer {
  const bytes = Buffer.allocUnsafe(REQUEST_SIZE_BYTES);
  bytes.writeUInt32BE(REQUEST_MAGIC, 0);
  bytes.writeUInt16BE(flags, 4);
  bytes.writeUInt16BE(command, 6);
  bytes.writeBigUInt64BE(cookie, 8);
  bytes.writeBigUInt64BE(offset, 16);
  bytes.writeUInt32BE(length, 24);
  return bytes;
}

/** Fails with `nbd-protocol`. */
export function decodeRequest(bytes: Buffer): Request {
  expectSize(bytes, REQUEST_SIZE_BYTES, 'a request');
  if (bytes.readUInt32BE(0) !== REQUEST_MAGIC) throw invalid('a request without its magic');
  return {
    flags: bytes.readUInt16BE(4),
    command: bytes.readUInt16BE(6),
    cookie: bytes.readBigUInt64BE(8),
    offset: bytes.readBigUInt64BE(16),
    length: bytes.readUInt32BE(24),
  };
}

export function encodeSimpleReply(cookie: bigint, error: number): Buffer {
  const bytes = Buffer.allocUnsafe(SIMPLE_REPLY_SIZE_BYTES);
  bytes.writeUInt32BE(SIMPLE_REPLY_MAGIC, 0);
  bytes.writeUInt32BE(error, 4);
  bytes.writeBigUInt64BE(cookie, 8);
  return bytes;
}

/** What the first 16 bytes of any reply say; a chunk's length is in the four bytes that follow. */
export type ReplyHead =
  | { readonly form: 'simple'; readonly error: number; readonly cookie: bigint }
  | {
      readonly form: 'chunk';
      readonly isLast: boolean;
      readonly type: number;
      readonly cookie: bigint;
    };

/** Fails with `nbd-protocol`. */
export function decodeReplyHead(bytes: Buffer): ReplyHead {
  expectSize(bytes, SIMPLE_REPLY_SIZE_BYTES, 'a reply');
  const magic = bytes.readUInt32BE(0);
  const cookie = bytes.readBigUInt64BE(8);
  if (magic === SIMPLE_REPLY_MAGIC) return { form: 'simple', error: bytes.readUInt32BE(4), cookie };
  if (magic !== STRUCTURED_REPLY_MAGIC) throw invalid('a reply without its magic');
  const isLast = (bytes.readUInt16BE(4) & CHUNK_DONE) !== 0;
  return { form: 'chunk', isLast, type: bytes.readUInt16BE(6), cookie };
}

function encodeChunkHead(cookie: bigint, type: number, length: number, extra: number): Buffer {
  const bytes = Buffer.allocUnsafe(CHUNK_HEADER_SIZE_BYTES + extra);
  bytes.writeUInt32BE(STRUCTURED_REPLY_MAGIC, 0);
  bytes.writeUInt16BE(CHUNK_DONE, 4);
  bytes.writeUInt16BE(type, 6);
  bytes.writeBigUInt64BE(cookie, 8);
  bytes.writeUInt32BE(length, 16);
  return bytes;
}

/** A reply that only says that it was done. */
export function encodeDone(cookie: bigint): Buffer {
  return encodeChunkHead(cookie, CHUNK.none, 0, 0);
}

/** What stands before the bytes of a read. */
export function encodeDataHead(cookie: bigint, offset: bigint, length: number): Buffer {
  const bytes = encodeChunkHead(cookie, CHUNK.offsetData, 8 + length, 8);
  bytes.writeBigUInt64BE(offset, CHUNK_HEADER_SIZE_BYTES);
  return bytes;
}

export function encodeError(cookie: bigint, error: number, message: string): Buffer {
  const text = Buffer.from(message.slice(0, ERROR_MESSAGE_LENGTH_MAX), 'utf8');
  const bytes = encodeChunkHead(cookie, CHUNK.error, 6 + text.length, 6 + text.length);
  bytes.writeUInt32BE(error, CHUNK_HEADER_SIZE_BYTES);
  bytes.writeUInt16BE(text.length, CHUNK_HEADER_SIZE_BYTES + 4);
  bytes.set(text, CHUNK_HEADER_SIZE_BYTES + 6);
  return bytes;
}

export function decodeHole(data: Buffer): { offset: bigint; length: number } {
  expectSize(data, 12, 'a hole');
  return { offset: data.readBigUInt64BE(0), length: data.readUInt32BE(8) };
}

/** The error and the message of an error chunk; kinds of errors that are not known have more. */
export function decodeError(type: number, data: Buffer): { error: number; message: string } {
  if (data.length < 6) throw invalid('an error chunk of bad length');
  const messageLength = data.readUInt16BE(4);
  const rest = data.length - 6 - messageLength;
  if (rest < 0 || (type === CHUNK.error && rest !== 0)) throw invalid('an error message too long');
  return { error: data.readUInt32BE(0), message: data.toString('utf8', 6, 6 + messageLength) };
}

/** A part of a disk as a context describes it. */
export interface StatusDescriptor {
  readonly length: number;
  readonly flags: number;
}

export function encodeBlockStatus(
  cookie: bigint,
  contextId: number,
  descriptors: readonly StatusDescriptor[],
): Buffer {
  const length = 4 + descriptors.length * 8;
  const bytes = encodeChunkHead(cookie, CHUNK.blockStatus, length, length);
  bytes.writeUInt32BE(contextId, CHUNK_HEADER_SIZE_BYTES);
  descriptors.forEach((descriptor, index) => {
    const place = CHUNK_HEADER_SIZE_BYTES + 4 + index * 8;
    bytes.writeUInt32BE(descriptor.length, place);
    bytes.writeUInt32BE(descriptor.flags, place + 4);
  });
  return bytes;
}

export function decodeBlockStatus(data: Buffer): {
  contextId: number;
  descriptors: StatusDescriptor[];
} {
  if (data.length < 12 || (data.length - 4) % 8 !== 0) throw invalid('a status of bad length');
  const descriptors: StatusDescriptor[] = [];
  for (let place = 4; place < data.length; place += 8) {
    const length = data.readUInt32BE(place);
    if (length === 0) throw invalid('a status of an empty extent');
    descriptors.push({ length, flags: data.readUInt32BE(place + 4) });
  }
  return { contextId: data.readUInt32BE(0), descriptors };
}
