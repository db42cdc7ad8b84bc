// The server without a kernel: what it holds, and that no request can bring it down.

import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeRequest, ERRNO, OPCODE } from './fuse-codec.ts';
import { FuseServer } from './server.ts';
import { memoryFileSystem, memoryNode } from './testing/memory-file-system.ts';

interface Sent {
  readonly unique: bigint;
  readonly errno: number;
  readonly body: Buffer;
}

function newServer() {
  const sent: Sent[] = [];
  const children = [
    memoryNode('a', { content: Buffer.from('content') }),
    memoryNode('b', { children: [memoryNode('c')] }),
  ];
  const server = new FuseServer(memoryFileSystem(children), {
    answer: (unique, errno, body) => sent.push({ unique, errno, body: Buffer.from(body ?? []) }),
  });
  return { server, sent };
}

function request(opcode: number, nodeId: number, body: Uint8Array, unique = 1n): Buffer {
  const bytes = Buffer.alloc(40 + body.length);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt32LE(opcode, 4);
  bytes.writeBigUInt64LE(unique, 8);
  bytes.writeBigUInt64LE(BigInt(nodeId), 16);
  bytes.set(body, 40);
  return bytes;
}

function u64(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 8);
  for (const [index, value] of values.entries()) bytes.writeBigUInt64LE(BigInt(value), index * 8);
  return bytes;
}

async function ask(
  server: FuseServer<ReturnType<typeof memoryNode>>,
  bytes: Buffer,
): Promise<void> {
  const decoded = decodeRequest(bytes);
  if (decoded) server.handle(decoded);
  await setImmediate();
}

test('it holds nodes for as long as the kernel does', async () => {
  const { server, sent } = newServer();
  await ask(server, request(OPCODE.lookup, 1, Buffer.from('a\0')));
  await ask(server, request(OPCODE.lookup, 1, Buffer.from('a\0')));
  const id = Number(sent[0]?.body.readBigUInt64LE(0));
  assert.equal(sent[1]?.body.readBigUInt64LE(0), BigInt(id));
  assert.equal(server.held.nodes, 1);
  await ask(server, request(OPCODE.forget, id, u64(1)));
  assert.equal(server.held.nodes, 1);
  await ask(server, request(OPCODE.batchForget, 0, u64(1, id, 1)));
  assert.equal(server.held.nodes, 0);
  await ask(server, request(OPCODE.getAttributes, id, u64(0, 0)));
  assert.equal(sent.at(-1)?.errno, ERRNO.ESTALE);
});

test('listing with nodes counts what was told, and closing lets go of folders', async () => {
  const { server, sent } = newServer();
  await ask(server, request(OPCODE.openFolder, 1, u64(0)));
  const handle = Number(sent[0]?.body.readBigUInt64LE(0));
  // Room for the dots and one name.
  const room = 3 * (128 + 32);
  await ask(server, request(OPCODE.readFolderPlus, 1, u64(handle, 0, room, 0, 0)));
  assert.equal(sent[1]?.body.length, room);
  assert.deepEqual(server.held, { nodes: 1, folders: 1 });
  await ask(server, request(OPCODE.readFolderPlus, 1, u64(handle, 3, room, 0, 0)));
  await ask(server, request(OPCODE.readFolderPlus, 1, u64(handle, 4, room, 0, 0)));
  assert.equal(sent[3]?.body.length, 0);
  assert.deepEqual(server.held, { nodes: 2, folders: 1 });
  await ask(server, request(OPCODE.releaseFolder, 1, u64(handle, 0, 0)));
  assert.equal(server.held.folders, 0);
});

test('each request is answered once, whatever it holds', async () => {
  const silent: ReadonlySet<number> = new Set([
    OPCODE.forget,
    OPCODE.batchForget,
    OPCODE.interrupt,
  ]);
  const opcode = fc.oneof(fc.integer({ min: 0, max: 60 }), fc.nat());
  const nodeId = fc.oneof(fc.constantFrom(1, 2, 3), fc.nat());
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(opcode, nodeId, fc.uint8Array({ maxLength: 80 })), { maxLength: 20 }),
      async (requests) => {
        const { server, sent } = newServer();
        const expected: number[] = [];
        for (const [index, [opcode, nodeId, body]] of requests.entries()) {
          const unique = BigInt(index + 1000);
          await ask(server, request(opcode, nodeId, body, unique));
          if (!silent.has(opcode)) expected.push(Number(unique));
        }
        await setImmediate();
        const answered = sent.map(({ unique }) => Number(unique)).sort((a, b) => a - b);
        assert.deepEqual(answered, expected);
        await server.close();
      },
    ),
    { numRuns: 300 },
  );
});
