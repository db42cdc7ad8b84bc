/**
 * Memory for what a unix socket sends. By default it takes less than one read of 256 KiB, so that each
 * is sent in two parts, with a wait for the peer between: twice the time.
 */
import type { Socket } from 'node:net';
import { setSendBufferSize } from '@coffer/base/libc.ts';

const SEND_BUFFER_SIZE_BYTES = 1024 * 1024;

export function enlargeSendBuffer(socket: Socket): void {
  const fd = descriptorOf(socket);
  if (fd !== undefined) setSendBufferSize(fd, SEND_BUFFER_SIZE_BYTES);
}

/** The runtime that is pinned has it here, and offers no other way. Without it, all is just slower. */
function descriptorOf(socket: Socket): number | undefined {
  const handle: unknown = Reflect.get(socket, '_handle');
  if (typeof handle !== 'object' || handle === null) return undefined;
  const fd: unknown = Reflect.get(handle, 'fd');
  return typeof fd === 'number' && fd >= 0 ? fd : undefined;
}
