/** Receives a file descriptor from another process through a socket, which Node cannot. */
import { SystemError } from '@coffer/base/libc.ts';
import koffi from 'koffi';

const library = koffi.load(null);
const socketpair = library.func('int socketpair(int domain, int type, int protocol, void *fds)');
const recvmsg = library.func('int64_t recvmsg(int fd, void *message, int flags)');

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;

/** Two ends of a socket; both are closed in programs that this process starts. */
export function socketPair(): readonly [number, number] {
  const fds = Buffer.alloc(8);
  const result: unknown = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);
  if (Number(result) < 0) throw new SystemError('socketpair');
  return [fds.readInt32LE(0), fds.readInt32LE(4)];
}

/**
 * Waits for one descriptor (unix(7), SCM_RIGHTS). Undefined when the other end was closed without
 * sending one.
 */
export async function receiveDescriptor(socket: number): Promise<number | undefined> {
  const byte = Buffer.alloc(1);
  const vector = Buffer.alloc(16);
  vector.writeBigUInt64LE(koffi.address(byte), 0);
  vector.writeBigUInt64LE(1n, 8);
  // A struct cmsghdr: length, level, type; then the descriptor, padded to 8 bytes.
  const control = Buffer.alloc(24);
  const message = Buffer.alloc(56);
  message.writeBigUInt64LE(koffi.address(vector), 16);
  message.writeBigUInt64LE(1n, 24);
  message.writeBigUInt64LE(koffi.address(control), 32);
  message.writeBigUInt64LE(BigInt(control.length), 40);
  const length = await new Promise<number>((resolve) => {
    recvmsg.async(socket, message, MSG_CMSG_CLOEXEC, (_error: unknown, result: unknown) => {
      resolve(Number(result));
    });
  });
  // The kernel writes to these while JavaScript holds nothing else of them.
  const received = { byte, vector, control };
  if (length <= 0 || received.control.readBigUInt64LE(0) < 20n) return undefined;
  if (control.readInt32LE(8) !== SOL_SOCKET || control.readInt32LE(12) !== SCM_RIGHTS) {
    return undefined;
  }
  return control.readInt32LE(16);
}
