/** What the system can do with a socket and Node does not offer. Where it cannot, all is just slower. */
import type { Socket } from 'node:net';
import { receiveNow, setSendBufferSize } from '@coffer/base/libc.ts';

const SEND_BUFFER_SIZE_BYTES = 1024 * 1024;

/**
 * More memory for what a unix socket sends. By default it takes less than one read of 256 KiB, so that
 * each is sent in two parts, with a wait for the peer between: twice the time.
 */
export function enlargeSendBuffer(socket: Socket): void {
  const fd = descriptorOf(socket);
  if (fd !== undefined) setSendBufferSize(fd, SEND_BUFFER_SIZE_BYTES);
}

/**
 * Takes what has arrived straight into its place, without a copy on the way; returns how many bytes
 * that were. The end of the connection, and errors, are left for the socket itself to find.
 */
export function receiveInto(socket: Socket, target: Uint8Array): number {
  const fd = descriptorOf(socket);
  return fd === undefined ? 0 : receiveNow(fd, target);
}

/** The runtime that is pinned has it here, and offers no other way. */
function descriptorOf(socket: Socket): number | undefined {
  const handle: unknown = Reflect.get(socket, '_handle');
  if (typeof handle !== 'object' || handle === null) return undefined;
  const fd: unknown = Reflect.get(handle, 'fd');
  return typeof fd === 'number' && fd >= 0 ? fd : undefined;
}
