/**
 * The numbers of the NBD protocol, as its document names them (nbd/doc/proto.md of the NBD project;
 * sections are cited where they are used). All integers on the wire are big-endian.
 */

export const NBD_MAGIC = 0x4e42444d41474943n;
export const IHAVEOPT = 0x49484156454f5054n;
export const OPTION_REPLY_MAGIC = 0x3e889045565a9n;
export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef;

/** Flags of the handshake, both ways. */
export const FIXED_NEWSTYLE = 1;
export const NO_ZEROES = 2;

export const OPTION = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;

export const REPLY = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  unsupported: 0x80000001,
  policy: 0x80000002,
  invalid: 0x80000003,
  platform: 0x80000004,
  tlsRequired: 0x80000005,
  unknownExport: 0x80000006,
  shutdown: 0x80000007,
  blockSizeRequired: 0x80000008,
  tooBig: 0x80000009,
} as const;

export const INFO = { export: 0, name: 1, description: 2, blockSize: 3 } as const;

/** What an export can do. */
export const EXPORT_FLAG = {
  hasFlags: 1,
  readOnly: 2,
  flush: 4,
  fua: 8,
  trim: 32,
  writeZeroes: 64,
  doNotFragment: 128,
  multiConn: 256,
  cache: 1024,
} as const;

export const COMMAND = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
} as const;

export type CommandName = keyof typeof COMMAND;

export const COMMAND_FLAG = { fua: 1, noHole: 2, doNotFragment: 4, requestOne: 8 } as const;

export const CHUNK = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  error: 0x8001,
  errorOffset: 0x8002,
} as const;

/** The last chunk of a reply. */
export const CHUNK_DONE = 1;
/** Chunk types from here on are errors. */
export const CHUNK_ERROR_MIN = 0x8000;

export const ERROR = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;

export function errorName(value: number): string {
  return Object.entries(ERROR).find(([, number]) => number === value)?.[0] ?? `error ${value}`;
}

/** Flags of `base:allocation`. */
export const ALLOCATION = { hole: 1, zero: 2 } as const;
export const BASE_ALLOCATION = 'base:allocation';

/** Names of exports and contexts, and messages, are not longer ("Values", string limits). */
export const STRING_SIZE_MAX = 4096;
/** What a peer may send as the data of one option or option reply. */
export const OPTION_SIZE_MAX = 64 * 1024;
/** Most bytes of one read or write; what QEMU and nbdkit have, too. */
export const PAYLOAD_SIZE_MAX = 32 * 1024 * 1024;
/** Most bytes of a block status; nbdkit tells a million extents at once, QEMU fewer. */
export const STATUS_SIZE_MAX = 4 + 8 * 1024 * 1024;
/** Lengths are 32 bits; this is the largest multiple of 64 KiB. */
export const LENGTH_MAX = 0xffff0000;

export const REQUEST_SIZE_BYTES = 28;
export const SIMPLE_REPLY_SIZE_BYTES = 16;
export const CHUNK_HEADER_SIZE_BYTES = 20;
