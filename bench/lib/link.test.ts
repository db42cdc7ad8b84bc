import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { openLink } from './link.ts';

test('a link delivers the bytes of many connections whole, in order, and counts them', async () => {
  const server = createServer({ allowHalfOpen: true }, (socket) => void socket.pipe(socket));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const link = await openLink({
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    bitsPerSecond: 1e9,
    roundTripMs: 4,
    windowSize: 64 * 1024, // Small, so that connections have to wait for their window.
  });
  const sent = Array.from({ length: 4 }, () => randomBytes(1 << 20));
  const echoed = await Promise.all(sent.map((bytes) => echo(link.port, bytes)));
  for (const [index, bytes] of sent.entries()) assert.ok(echoed[index]!.equals(bytes));
  assert.deepEqual(link.bytes, { up: 4 << 20, down: 4 << 20 });
  link.close();
  server.close();
});

async function echo(port: number, bytes: Buffer): Promise<Buffer> {
  const socket = connect({ port, host: '127.0.0.1' });
  socket.end(bytes);
  const received: Buffer[] = [];
  for await (const chunk of socket) received.push(chunk as Buffer);
  return Buffer.concat(received);
}
