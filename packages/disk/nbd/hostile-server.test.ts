/** Our client, and servers that lie. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { encodeContext } from './handshake-codec.ts';
import { CHUNK, COMMAND, OPTION, REPLY } from './protocol.ts';
import {
  answerOption,
  chunk,
  dataChunk,
  diskOf,
  greeted,
  never,
  nextOption,
  nextRequest,
  served,
} from './testing/fake-peers.ts';
import { fails, nbdLab, openDisk, uriOf } from './testing/lab.ts';
import {
  encodeBlockStatus,
  encodeDone,
  encodeError,
  encodeSimpleReply,
} from './transmission-codec.ts';

const lab = nbdLab();

/** What a read of 4096 bytes at 8192 comes to when a server answers like that. */
async function readAnswered(answer: (cookie: bigint) => Buffer[], reason: RegExp): Promise<void> {
  const disk = await diskOf(lab, async (connection) => {
    const { cookie } = await nextRequest(connection);
    await connection.write(Buffer.concat(answer(cookie)));
  });
  const reading = disk.read(8192, Buffer.alloc(4096));
  await assert.rejects(reading, fails('nbd-protocol', { export: '', reason }));
  await disk.close();
}

function holeOf(cookie: bigint, offset: number, length: number, flags = 0): Buffer {
  const payload = Buffer.alloc(12);
  payload.writeBigUInt64BE(BigInt(offset), 0);
  payload.writeUInt32BE(length, 8);
  return chunk(cookie, CHUNK.offsetHole, payload, flags);
}

test('replies that nobody asked for, or that are not what was asked for, end the connection', async () => {
  await readAnswered((cookie) => [dataChunk(cookie + 1n, 8192, 4096)], /no request/);
  await readAnswered(() => [Buffer.alloc(16, 7)], /magic/);
  await readAnswered((cookie) => [dataChunk(cookie, 8191, 4096)], /another place/);
  await readAnswered((cookie) => [dataChunk(cookie, 8192, 4097)], /another place/);
  await readAnswered((cookie) => [dataChunk(cookie, 12_288, 1)], /another place/);
  await readAnswered((cookie) => [dataChunk(cookie, 2 ** 62, 4096)], /another place/);
  await readAnswered((cookie) => [dataChunk(cookie, 8192, 0)], /without data/);
  await readAnswered((cookie) => [dataChunk(cookie, 8192, 4095)], /missing/);
  await readAnswered((cookie) => [encodeDone(cookie)], /missing/);
  await readAnswered((cookie) => [encodeSimpleReply(cookie, 0)], /simple reply to a read/);
  await readAnswered((cookie) => [holeOf(cookie, 8192, 4097)], /another place/);
  await readAnswered((cookie) => [holeOf(cookie, 8192, 0)], /another place/);
  await readAnswered(
    (cookie) => [chunk(cookie, CHUNK.offsetHole, Buffer.alloc(11))],
    /a hole of 11/,
  );
  await readAnswered((cookie) => [chunk(cookie, CHUNK.none, Buffer.alloc(0))], /type 0/);
  await readAnswered((cookie) => [chunk(cookie, CHUNK.none, Buffer.alloc(4), 1)], /type 0/);
  await readAnswered((cookie) => [chunk(cookie, 77, Buffer.alloc(4), 1)], /type 77/);
  await readAnswered((cookie) => [chunk(cookie, 0x8001, Buffer.alloc(5), 1)], /error chunk/);
  await readAnswered(
    (cookie) => [encodeBlockStatus(cookie, 1, [{ length: 1, flags: 0 }])],
    /not asked/,
  );
});

test('a length that lies is refused before memory is taken for it', async () => {
  const lying = (type: number) => (cookie: bigint) => {
    const head = encodeDone(cookie);
    head.writeUInt16BE(type, 6);
    head.writeUInt32BE(0xffffffff, 16);
    return [head, Buffer.alloc(8)];
  };
  for (const type of [CHUNK.none, CHUNK.offsetHole, CHUNK.blockStatus, CHUNK.error, 99]) {
    await readAnswered(lying(type), /4294967295 bytes/);
  }
  await readAnswered(lying(CHUNK.offsetData), /another place/);
});

test('a part that comes twice does not hide one that never came', async () => {
  const half = (cookie: bigint): Buffer =>
    chunk(cookie, CHUNK.offsetData, dataChunk(cookie, 8192, 2048).subarray(20));
  await readAnswered((cookie) => [half(cookie), half(cookie), encodeDone(cookie)], /twice/);
});

test('a reply in pieces, out of order, is put together', async () => {
  const disk = await diskOf(lab, async (connection) => {
    const { cookie } = await nextRequest(connection);
    await connection.write(
      chunk(cookie, CHUNK.offsetData, dataChunk(cookie, 11_264, 1024).subarray(20)),
      holeOf(cookie, 9216, 2048),
      dataChunk(cookie, 8192, 1024),
    );
  });
  const target = Buffer.alloc(4096, 9);
  await disk.read(8192, target);
  assert.deepEqual(
    target,
    Buffer.concat([Buffer.alloc(1024, 1), Buffer.alloc(2048), Buffer.alloc(1024, 1)]),
  );
  await disk.close();
});

test('a reply that never ends is ended', async () => {
  const endless = (cookie: bigint): Buffer[] => {
    const error = chunk(cookie, CHUNK.error, encodeError(0n, 5, 'again').subarray(20));
    return Array.from({ length: 5000 }, () => error);
  };
  await readAnswered(endless, /too many chunks/);
});

test('errors of unknown kinds are errors of the request, and the connection lives on', async () => {
  const disk = await diskOf(lab, async (connection) => {
    const first = await nextRequest(connection);
    const error = encodeError(0n, 28, 'words').subarray(20);
    await connection.write(chunk(first.cookie, 0x8077, Buffer.concat([error, Buffer.alloc(9)]), 1));
    const second = await nextRequest(connection);
    await connection.write(dataChunk(second.cookie, 0, 512));
  });
  const failure = fails('target-full', { error: 'ENOSPC', said: 'words', offset: 512 });
  await assert.rejects(disk.read(512, Buffer.alloc(512)), failure);
  await disk.read(0, Buffer.alloc(512));
  await disk.close();
});

test('the longest block status of QEMU is taken', async () => {
  const count = (1024 * 1024) / 8;
  const disk = await diskOf(lab, async (connection) => {
    const { cookie, command } = await nextRequest(connection);
    assert.equal(command, COMMAND.blockStatus);
    const each = Array.from({ length: count }, (_, index) => ({ length: 8, flags: index % 2 }));
    await connection.write(encodeBlockStatus(cookie, 1, each));
  });
  // The range has an end of its own; the reply was taken as a whole.
  const extents = await Array.fromAsync(disk.extents({ offset: 0, length: 8000 }));
  assert.equal(extents.length, 1000);
  await disk.close();
});

test('a status of nothing, twice, or of another context only is refused', async () => {
  const answers: ((cookie: bigint) => Buffer)[] = [
    (cookie) => encodeBlockStatus(cookie, 1, []),
    (cookie) => encodeBlockStatus(cookie, 1, [{ length: 0, flags: 0 }]),
    (cookie) => encodeBlockStatus(cookie, 7, [{ length: 512, flags: 0 }]),
    (cookie) => {
      const status = encodeBlockStatus(cookie, 1, [{ length: 512, flags: 0 }]);
      return Buffer.concat([chunk(cookie, CHUNK.blockStatus, status.subarray(20)), status]);
    },
    (cookie) => encodeSimpleReply(cookie, 0),
  ];
  for (const answer of answers) {
    const disk = await diskOf(lab, async (connection) => {
      await connection.write(answer((await nextRequest(connection)).cookie));
    });
    const extents = disk.extents()[Symbol.asyncIterator]();
    await assert.rejects(extents.next(), fails('nbd-protocol'));
    await disk.close();
  }
});

test('what is no NBD server, or an old one, is told', async () => {
  const http = await served(lab, (connection) =>
    connection.write(Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')),
  );
  await assert.rejects(openDisk(http), fails('nbd-protocol', { reason: /no NBD server/ }));
  const oldstyle = Buffer.alloc(152);
  oldstyle.writeBigUInt64BE(0x4e42444d41474943n, 0);
  oldstyle.writeBigUInt64BE(0x00420281861253n, 8);
  const old = await served(lab, (connection) => connection.write(oldstyle));
  await assert.rejects(openDisk(old), fails('nbd-protocol', { reason: /oldstyle/ }));
  const unfixed = await served(lab, async (connection) => void (await greeted(connection, 0)));
  await assert.rejects(openDisk(unfixed), fails('nbd-protocol', { reason: /fixed newstyle/ }));
  const gone = openDisk(uriOf(lab.newPath()));
  await assert.rejects(gone, fails('nbd-unreachable', { reason: 'ENOENT' }));
});

test('option replies that lie or never end are refused', async () => {
  const answering = (answer: (option: number) => [number, number, Buffer][]): Promise<string> =>
    served(lab, async (connection) => {
      await greeted(connection);
      for (;;) {
        const { option } = await nextOption(connection);
        for (const [of, type, bytes] of answer(option)) {
          await answerOption(connection, of, type, bytes);
        }
      }
    });
  const refuses = async (
    reason: RegExp,
    answer: (option: number) => [number, number, Buffer][],
  ): Promise<void> => {
    await assert.rejects(openDisk(await answering(answer)), fails('nbd-protocol', { reason }));
  };
  const empty = Buffer.alloc(0);
  const many = (
    option: number,
    type: number,
    bytes: (index: number) => Buffer,
  ): [number, number, Buffer][] =>
    Array.from({ length: 100 }, (_, index) => [option, type, bytes(index)]);
  await refuses(/another option/, () => [[99, REPLY.ack, empty]]);
  await refuses(/without a size/, (option) => [[option, REPLY.ack, empty]]);
  await refuses(/too much information/, (option) =>
    option === OPTION.go
      ? many(option, REPLY.info, () => Buffer.from([0, 9]))
      : [[option, REPLY.ack, empty]],
  );
  await refuses(/too many contexts/, (option) =>
    option === OPTION.setMetaContext
      ? many(option, REPLY.metaContext, (index) => encodeContext(index, `x:${index}`))
      : [[option, REPLY.ack, empty]],
  );
  await refuses(/70000 bytes/, (option) => [[option, REPLY.info, Buffer.alloc(70_000)]]);
});

test('bytes in the clear after TLS was agreed are refused', async () => {
  const keys = lab.newPath();
  writeFileSync(keys, `a:${'ab'.repeat(16)}\n`);
  const uri = await served(lab, async (connection) => {
    await greeted(connection);
    const { option } = await nextOption(connection);
    const reply = Buffer.alloc(20);
    reply.writeBigUInt64BE(0x3e889045565a9n);
    reply.writeUInt32BE(option, 8);
    reply.writeUInt32BE(REPLY.ack, 12);
    await connection.write(Buffer.concat([reply, Buffer.from('injected')]));
    await never;
  });
  const opening = openDisk(uri, { tls: { form: 'psk', file: keys, user: 'a' } });
  await assert.rejects(opening, fails('nbd-protocol', { reason: /in the clear/ }));
});
