/**
 * Messages of libvirt's RPC (its internals/rpc document): a length that counts itself, a header of six
 * integers, and a payload that the procedure defines.
 */
import { CofferError } from '@coffer/base';
import { XdrReader, XdrWriter } from './xdr-codec.ts';

/** The largest message that libvirt makes; memory of a connection is bounded by it. */
const MESSAGE_BYTES_MAX = 32 * 1024 * 1024;

const LENGTH_BYTES = 4;
const HEADER_BYTES = 24;

export const MESSAGE_TYPE = { call: 0, reply: 1, event: 2, stream: 3 } as const;

/** `more` is of streams: bytes follow, none of them at their end. */
export const MESSAGE_STATUS = { ok: 0, error: 1, more: 2 } as const;

export interface MessageHeader {
  readonly program: number;
  readonly version: number;
  readonly procedure: number;
  readonly type: number;
  /** Chosen by who calls; an event has 0. */
  readonly serial: number;
  readonly status: number;
}

export interface Message extends MessageHeader {
  readonly payload: Buffer;
}

/** An error as libvirt sends it; the parts that are marked obsolete there are left out. */
export interface SentError {
  /** virErrorNumber. */
  readonly code: number;
  /** virErrorDomain: the part of libvirt that it comes from. */
  readonly origin: number;
  readonly message: string;
}

export function encodeMessage(header: MessageHeader, payload: Buffer): Buffer {
  const length = LENGTH_BYTES + HEADER_BYTES + payload.length;
  if (length > MESSAGE_BYTES_MAX) {
    throw new CofferError('libvirt-failed', { reason: `a message of ${length} bytes is too long` });
  }
  const writer = new XdrWriter().u32(length).u32(header.program).u32(header.version);
  writer.i32(header.procedure).i32(header.type).u32(header.serial).i32(header.status);
  return writer.raw(payload).finish();
}

/** Cuts what arrives into messages. After a failure it must not be used any more. */
export class MessageSplitter {
  readonly #length = Buffer.alloc(LENGTH_BYTES);
  #lengthFilled = 0;
  #body: Buffer | undefined;
  #bodyFilled = 0;

  /** The messages that are complete with this piece. */
  *feed(piece: Buffer): Generator<Message> {
    let rest = piece;
    while (rest.length > 0) {
      rest = this.#body ? this.#fillBody(this.#body, rest) : this.#fillLength(rest);
      if (this.#body && this.#bodyFilled === this.#body.length) {
        yield decodeMessage(this.#body);
        this.#body = undefined;
        this.#lengthFilled = 0;
      }
    }
  }

  #fillLength(piece: Buffer): Buffer {
    const taken = piece.copy(this.#length, this.#lengthFilled);
    this.#lengthFilled += taken;
    if (this.#lengthFilled === LENGTH_BYTES) this.#beginBody(this.#length.readUInt32BE());
    return piece.subarray(taken);
  }

  #beginBody(length: number): void {
    if (length < LENGTH_BYTES + HEADER_BYTES || length > MESSAGE_BYTES_MAX) {
      const details = { structure: 'message', offset: 0, reason: `length ${length} is impossible` };
      throw new CofferError('libvirt-failed', details);
    }
    this.#body = Buffer.allocUnsafe(length - LENGTH_BYTES);
    this.#bodyFilled = 0;
  }

  #fillBody(body: Buffer, piece: Buffer): Buffer {
    const taken = piece.copy(body, this.#bodyFilled);
    this.#bodyFilled += taken;
    return piece.subarray(taken);
  }
}

function decodeMessage(body: Buffer): Message {
  const reader = new XdrReader(body, 'message');
  return {
    program: reader.u32(),
    version: reader.u32(),
    procedure: reader.i32(),
    type: reader.i32(),
    serial: reader.u32(),
    status: reader.i32(),
    payload: body.subarray(HEADER_BYTES),
  };
}

/** The payload of a message whose status is an error. */
export function decodeSentError(payload: Buffer): SentError {
  const reader = new XdrReader(payload, 'error');
  const code = reader.i32();
  const origin = reader.i32();
  const message = reader.optional(() => reader.text()) ?? '';
  // What follows are the level and references that nobody fills any more.
  return { code, origin, message };
}
