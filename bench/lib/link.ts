// A simulated link: one pipe per direction with a rate, a delay and a window per connection.
//
// Model: bytes of all connections share each direction's rate in the order in which they come
// (a token bucket without burst); each byte arrives one delay after it left; a new connection
// delivers nothing until the handshake, one round trip, is over; and a connection has at most one
// window of unacknowledged bytes. Slow start and loss are not modelled.
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';

export interface LinkOptions {
  /** Where the link leads. */
  host: string;
  port: number;
  bitsPerSecond: number;
  roundTripMs: number;
  /** Bytes that one connection may have under way: what Linux allows by default. */
  windowSize: number;
}

export interface LinkBytes {
  up: number;
  down: number;
}

export interface Link {
  port: number;
  bytes: LinkBytes;
  close(): void;
}

export async function openLink(options: LinkOptions): Promise<Link> {
  const up: Direction = { freeAtMs: 0, bytes: 0 };
  const down: Direction = { freeAtMs: 0, bytes: 0 };
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = connect({
      host: options.host,
      port: options.port,
      allowHalfOpen: true,
      noDelay: true,
    });
    const openAtMs = performance.now() + options.roundTripMs;
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => {
        near.destroy();
        far.destroy();
      });
      socket.on('close', () => sockets.delete(socket));
    }
    pump(near, far, up, openAtMs, options);
    pump(far, near, down, openAtMs, options);
  });
  await listening(server);
  return {
    port: (server.address() as AddressInfo).port,
    get bytes() {
      return { up: up.bytes, down: down.bytes };
    },
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

interface Direction {
  /** When the link has sent all that was given to it. */
  freeAtMs: number;
  bytes: number;
}

/** Moves bytes of one connection in one direction, in order. */
function pump(
  source: Socket,
  target: Socket,
  direction: Direction,
  openAtMs: number,
  { bitsPerSecond, roundTripMs, windowSize }: LinkOptions,
): void {
  const bytesPerMs = bitsPerSecond / 8 / 1000;
  const queue: { bytes: Buffer | 'end'; atMs: number }[] = [];
  let underWay = 0;

  const deliver = () => {
    const now = performance.now();
    while (queue[0] !== undefined && queue[0].atMs <= now) {
      const { bytes } = queue.shift()!;
      if (bytes === 'end') target.end();
      else {
        target.write(bytes);
        // The acknowledgement takes half a round trip back.
        setTimeout(acknowledge, roundTripMs / 2, bytes.length);
      }
    }
    if (queue[0] !== undefined) setTimeout(deliver, Math.max(0, queue[0].atMs - now));
  };
  const acknowledge = (count: number) => {
    underWay -= count;
    if (underWay < windowSize && target.writableLength < windowSize) source.resume();
  };
  const enqueue = (bytes: Buffer | 'end') => {
    const size = bytes === 'end' ? 0 : bytes.length;
    const startAtMs = Math.max(performance.now(), direction.freeAtMs, openAtMs);
    // Bytes that wait for their handshake do not hold up other connections.
    const sentAtMs = startAtMs + size / bytesPerMs;
    direction.freeAtMs = Math.max(direction.freeAtMs, performance.now()) + size / bytesPerMs;
    direction.bytes += size;
    queue.push({ bytes, atMs: sentAtMs + roundTripMs / 2 });
    if (queue.length === 1) deliver();
  };

  source.on('data', (bytes: Buffer) => {
    underWay += bytes.length;
    if (underWay >= windowSize) source.pause();
    enqueue(bytes);
  });
  source.on('end', () => enqueue('end'));
  target.on('drain', () => {
    if (underWay < windowSize) source.resume();
  });
}

async function listening(server: Server): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.on('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
}
