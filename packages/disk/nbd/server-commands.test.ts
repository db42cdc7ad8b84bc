/** The commands of the protocol, one by one, as libnbd and a client of the old days send them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import {
  memoryDisk,
  MIB,
  must,
  nbdLab,
  nbdsh,
  rawDisk,
  sparseContents,
  uriOf,
  PYTHON,
} from './testing/lab.ts';

const lab = nbdLab();

test('every command does what libnbd asks for', async () => {
  const { disk, image } = await rawDisk(lab);
  const server = await lab.serve({ exports: [{ name: '', disk, readOnly: false }] });
  await nbdsh(
    server.uri,
    `
h.set_strict_mode(0)
h.pwrite(b'a' * 4096, 0, nbd.CMD_FLAG_FUA)
assert h.pread(4096, 0, nbd.CMD_FLAG_DF) == b'a' * 4096
h.pwrite(b'odd', 4095)
assert h.pread(5, 4094) == b'aodd\\0'
h.trim(4096, 1048576, nbd.CMD_FLAG_FUA)
h.zero(4096, 1048576 + 4096, nbd.CMD_FLAG_FUA)
h.zero(8192, 1048576 + 8192, nbd.CMD_FLAG_NO_HOLE)
assert h.pread(16384, 1048576) == bytes(16384)
h.cache(8388608, 0)
h.flush()
h.pwrite(b'z' * 10, 8388608 - 10)
assert h.pread(10, 8388608 - 10) == b'z' * 10
`,
  );
  const expected = sparseContents();
  expected.fill('a', 0, 4096).write('odd', 4095);
  expected.fill(0, MIB, MIB + 16_384).fill('z', 8 * MIB - 10);
  assert.deepEqual(readFileSync(image), expected);
});

test('what cannot be done is answered with the errors of the protocol', async () => {
  const sizeBytes = 33 * MIB;
  const server = await lab.serve({
    exports: [
      { name: 'rw', disk: memoryDisk(Buffer.alloc(sizeBytes)), readOnly: false },
      { name: 'ro', disk: memoryDisk(Buffer.alloc(MIB)), readOnly: true },
    ],
  });
  const refuses = `
h.set_strict_mode(0)
def refuses(name, task):
    try:
        task()
    except nbd.Error as error:
        assert error.errno == name, (name, error.errno, error.string)
    else:
        raise AssertionError('not refused: ' + name)
`;
  await nbdsh(
    uriOf(server.socket, 'rw'),
    `${refuses}
size = h.get_size()
refuses('EINVAL', lambda: h.pread(0, 0))
refuses('EINVAL', lambda: h.pread(10, size - 9))
refuses('EINVAL', lambda: h.pread(1, 2**63))
refuses('EINVAL', lambda: h.pread(33 << 20, 0))
refuses('EOVERFLOW', lambda: h.pread(33 << 20, 0, nbd.CMD_FLAG_DF))
refuses('EINVAL', lambda: h.pread(512, 0, nbd.CMD_FLAG_NO_HOLE))
refuses('ENOSPC', lambda: h.pwrite(b'ab', size - 1))
refuses('ENOSPC', lambda: h.zero(512, size))
refuses('EINVAL', lambda: h.trim(512, size))
refuses('EINVAL', lambda: h.zero(512, 0, nbd.CMD_FLAG_FAST_ZERO))
refuses('EINVAL', lambda: h.block_status(512, 0, lambda *_: 0))
assert len(h.pread(32 << 20, 0)) == 32 << 20
h.pwrite(bytes(32 << 20), 1 << 20)
`,
  );
  await nbdsh(
    uriOf(server.socket, 'ro'),
    `${refuses}
refuses('EPERM', lambda: h.pwrite(b'a', 0))
refuses('EPERM', lambda: h.zero(1, 0))
refuses('EPERM', lambda: h.trim(1, 0))
h.flush()
assert h.pread(1, 0) == b'\\0'
`,
  );
});

test('block status tells one extent where one is asked for', async () => {
  const { disk } = await rawDisk(lab);
  const server = await lab.serve({ exports: [{ name: '', disk, readOnly: true }] });
  const said = await nbdsh(
    server.uri,
    `
told = []
def extent(context, offset, entries, error):
    told.append((context, offset, entries))
    return 0
h.block_status(8388608, 0, extent, nbd.CMD_FLAG_REQ_ONE)
h.block_status(3145728, 1048577, extent)
h.block_status(1, 8388607, extent)
print(told)
`,
    `h.add_meta_context('base:allocation')`,
  );
  assert.equal(
    said.trim(),
    "[('base:allocation', 0, [1048576, 3]), " +
      "('base:allocation', 1048577, [1048575, 0, 2097153, 3]), " +
      "('base:allocation', 8388607, [1, 3])]",
  );
});

test('clients without GO, without structured replies and without zeroes are served', async () => {
  const { disk } = await rawDisk(lab);
  const server = await lab.serve({ exports: [{ name: 'old', disk, readOnly: false }] });
  const check = `
assert h.get_size() == 8388608
assert not h.can_df()
h.pwrite(b'hello', 100, nbd.CMD_FLAG_FUA)
assert h.pread(7, 99) == b'\\0hello\\0'
try:
    h.pread(1, 8388608)
    raise SystemExit(1)
except nbd.Error as error:
    assert error.errno == 'EINVAL'
h.flush()
h.shutdown()
`;
  for (const noZeroes of [0, 2]) {
    await nbdsh(
      server.uri,
      check,
      `h.set_strict_mode(0)
h.set_request_structured_replies(False)
h.set_handshake_flags(1 | ${noZeroes})
h.set_export_name('old')`,
    );
  }
  // Option mode off and GO unknown to the client: what clients before 2016 did.
  const oldest = await exportName(server.socket, 'old');
  assert.equal(oldest.sizeBytes, 8 * MIB);
  assert.equal(oldest.zeroes, 124);
});

/** Chooses an export by `NBD_OPT_EXPORT_NAME`, as a client that knows nothing else. */
async function exportName(
  socket: string,
  name: string,
): Promise<{ sizeBytes: number; zeroes: number }> {
  const said = await must(PYTHON, [
    '-c',
    `
import socket, struct
s = socket.socket(socket.AF_UNIX)
s.connect(${JSON.stringify(socket)})
f = s.makefile('rwb', buffering=0)
def exact(n):
    data = b''
    while len(data) < n:
        more = s.recv(n - len(data))
        assert more
        data += more
    return data
exact(18)
name = ${JSON.stringify(name)}.encode()
s.sendall(struct.pack('>I8sII', 1, b'IHAVEOPT', 1, len(name)) + name)
size, flags = struct.unpack('>QH', exact(10))
zeroes = exact(124)
s.sendall(struct.pack('>IHHQQI', 0x25609513, 0, 0, 7, 0, 512))
assert struct.unpack('>IIQ', exact(16)) == (0x67446698, 0, 7)
exact(512)
s.sendall(struct.pack('>IHHQQI', 0x25609513, 0, 2, 8, 0, 0))
assert s.recv(1) == b''
print(size, len(zeroes))
`,
  ]);
  const [sizeBytes, zeroes] = said.trim().split(' ').map(Number);
  return { sizeBytes: sizeBytes!, zeroes: zeroes! };
}

test('several connections at once read and write one disk', async () => {
  const { disk, image } = await rawDisk(lab, Buffer.alloc(8 * MIB));
  const server = await lab.serve({ exports: [{ name: '', disk, readOnly: false }] });
  await nbdsh(
    server.uri,
    `
import threading
failed = []
def work(index):
    try:
        c = nbd.NBD()
        c.connect_uri(${JSON.stringify(server.uri)})
        for step in range(16):
            c.pwrite(bytes([index + 1]) * 4096, (index * 16 + step) * 4096)
        c.flush()
        assert c.pread(65536, index * 65536) == bytes([index + 1]) * 65536
        c.shutdown()
    except Exception as error:
        failed.append(error)
threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
assert not failed, failed
assert h.pread(8 * 65536, 0) == b''.join(bytes([i + 1]) * 65536 for i in range(8))
`,
  );
  assert.equal(readFileSync(image)[8 * 65_536 - 1], 8);
});
