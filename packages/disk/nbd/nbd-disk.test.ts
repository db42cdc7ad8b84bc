import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { seededRandom } from '@coffer/base';
import { createRawDisk, openRawDisk } from '../raw.ts';
import { type OpenedDisk, diskContract, writableDiskContract } from '../testing/contract.ts';
import type { NbdDisk } from './nbd-disk.ts';
import { fails, MIB, must, nbdLab, openDisk, readAll, type Started, uriOf } from './testing/lab.ts';

const lab = nbdLab();

/** A disk that ends its server when it is closed. */
function endingWith(disk: NbdDisk, server: Started): NbdDisk {
  const close = disk.close.bind(disk);
  return Object.assign(disk, {
    async close() {
      await close();
      await server.kill('SIGTERM');
    },
  });
}

/** Of a server of others over a new file of holes. */
async function writableOver(
  sizeBytes: number,
  start: (image: string, socket: string) => Promise<Started>,
): Promise<OpenedDisk<NbdDisk>> {
  const [image, socket] = [lab.newPath(), lab.newPath()];
  await (await createRawDisk(image, sizeBytes)).close();
  const server = await start(image, socket);
  const disk = await openDisk(uriOf(socket), { writable: true });
  return { disk: endingWith(disk, server), reopen: () => openRawDisk(image) };
}

const qemuNbd = (image: string, socket: string): Promise<Started> =>
  lab.start('qemu-nbd', (pidFile) => [
    '-t',
    '-f',
    'raw',
    '-e',
    '8',
    '--discard=unmap',
    '--detect-zeroes=unmap',
    `--pid-file=${pidFile}`,
    '-k',
    socket,
    image,
  ]);

const storageDaemon = (image: string, socket: string): Promise<Started> =>
  lab.start('qemu-storage-daemon', (pidFile) => [
    '--blockdev',
    `driver=file,node-name=f,filename=${image},discard=unmap`,
    '--blockdev',
    'driver=raw,node-name=r,file=f,discard=unmap',
    '--nbd-server',
    `addr.type=unix,addr.path=${socket}`,
    '--export',
    'type=nbd,id=e,node-name=r,name=,writable=on',
    '--pidfile',
    pidFile,
  ]);

const nbdkit = (socket: string, ...args: string[]): Promise<Started> =>
  lab.start('nbdkit', (pidFile) => ['-f', '-P', pidFile, '-U', socket, ...args]);

const nbdkitFile = (image: string, socket: string): Promise<Started> =>
  nbdkit(socket, 'file', image);

writableDiskContract('NBD of our server over a raw file', async (sizeBytes) => {
  const image = lab.newPath();
  const source = await createRawDisk(image, sizeBytes);
  const server = await lab.serve({ exports: [{ name: '', disk: source, readOnly: false }] });
  const disk = await openDisk(server.uri, { writable: true });
  return { disk, reopen: () => openRawDisk(image) };
});

const SMALL = MIB / 2;
writableDiskContract('NBD of qemu-nbd', (size) => writableOver(size, qemuNbd), SMALL);
writableDiskContract('NBD of qsd', (size) => writableOver(size, storageDaemon), SMALL);
writableDiskContract('NBD of nbdkit', (size) => writableOver(size, nbdkitFile), SMALL);

const BLOCKSIZE_POLICY = '--filter=blocksize-policy';
const blocksOnly = (min: number): string[] => [
  `blocksize-minimum=${min}`,
  `blocksize-preferred=${min}`,
  'blocksize-maximum=1M',
  'blocksize-error-policy=error',
];

/** What nbdkit is told besides its size, by what that makes of it. */
const limited = {
  'that takes blocks of 512 bytes only': [BLOCKSIZE_POLICY, ...blocksOnly(512)],
  'that takes blocks of 64 KiB only': [BLOCKSIZE_POLICY, ...blocksOnly(65_536)],
  'without zeroing and extents': ['--filter=nozero', '--filter=noextents'],
  'without structured replies': ['--no-sr'],
  'for two connections': ['--filter=limit', 'limit=2'],
};
for (const [kind, args] of Object.entries(limited)) {
  const create = async (sizeBytes: number): Promise<OpenedDisk<NbdDisk>> => {
    const socket = lab.newPath();
    const options = args.filter((each) => each.startsWith('-'));
    const parameters = args.filter((each) => !each.startsWith('-'));
    const server = await nbdkit(socket, ...options, 'memory', `${sizeBytes}`, ...parameters);
    return { disk: endingWith(await openDisk(uriOf(socket), { writable: true }), server) };
  };
  writableDiskContract(`NBD of a server ${kind}`, create, SMALL);
}

test('what a server cannot do is known', async () => {
  const [blocks, simple] = [lab.newPath(), lab.newPath()];
  await nbdkit(blocks, BLOCKSIZE_POLICY, 'memory', '1M', ...blocksOnly(512));
  await nbdkit(simple, '--no-sr', 'memory', '1M');
  const [first, second] = [await openDisk(uriOf(blocks)), await openDisk(uriOf(simple))];
  assert.deepEqual(first.negotiated.blockSizes, { min: 512, preferred: 512, max: MIB });
  assert.equal(second.negotiated.structured, false);
  await Promise.all([first.close(), second.close()]);
});

/** An image with data and holes, and what it holds. */
function sparseImage(): { image: string; expected: Buffer } {
  const image = lab.newPath();
  const expected = Buffer.alloc(5 * MIB);
  seededRandom(4)
    .bytes(MIB + 77)
    .copy(expected, MIB);
  seededRandom(5)
    .bytes(1000)
    .copy(expected, 4 * MIB);
  writeFileSync(image, expected);
  return { image, expected };
}

diskContract('NBD of a qcow2 image', async () => {
  const { image, expected } = sparseImage();
  const [qcow2, socket] = [lab.newPath(), lab.newPath()];
  await must('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', image, qcow2]);
  const server = await lab.start('qemu-nbd', (pidFile) => [
    '-r',
    '-t',
    '-f',
    'qcow2',
    '-e',
    '8',
    `--pid-file=${pidFile}`,
    '-k',
    socket,
    qcow2,
  ]);
  return { disk: endingWith(await openDisk(uriOf(socket)), server), expected };
});

diskContract('NBD of a file read-only, blocks of 4096 bytes', async () => {
  const { image, expected } = sparseImage();
  const socket = lab.newPath();
  const server = await nbdkit(socket, '-r', BLOCKSIZE_POLICY, 'file', image, ...blocksOnly(4096));
  return { disk: endingWith(await openDisk(uriOf(socket)), server), expected };
});

test('a server that serves one client only is read over one connection', async () => {
  const { image, expected } = sparseImage();
  const socket = lab.newPath();
  await lab.start('qemu-nbd', (pidFile) => [
    '-r',
    '-t',
    '-f',
    'raw',
    `--pid-file=${pidFile}`,
    '-k',
    socket,
    image,
  ]);
  const disk = await openDisk(uriOf(socket));
  assert.deepEqual(await readAll(disk), expected);
  await disk.close();
});

test('a read-only export is not opened for writing', async () => {
  const { image } = sparseImage();
  const socket = lab.newPath();
  await nbdkit(socket, '-r', 'file', image);
  const opening = openDisk(uriOf(socket), { writable: true });
  await assert.rejects(opening, fails('target-unwritable', { reason: 'read-only' }));
});

test('a full target is told as such', async () => {
  const socket = lab.newPath();
  await nbdkit(socket, '--filter=error', 'memory', '1M', 'error=ENOSPC', 'error-pwrite-rate=100%');
  const disk = await openDisk(uriOf(socket), { writable: true });
  await assert.rejects(disk.write(0, Buffer.alloc(4096)), fails('target-full', { offset: 0 }));
  await disk.close();
});

test('what the server cannot do is told with its words, and the connection lives on', async () => {
  const socket = lab.newPath();
  const marker = lab.newPath();
  await nbdkit(
    socket,
    '--filter=error',
    'memory',
    '1M',
    'error=EIO',
    'error-rate=100%',
    `error-file=${marker}`,
  );
  const disk = await openDisk(uriOf(socket), { writable: true });
  writeFileSync(marker, '');
  const failure = fails('nbd-failed', { command: 'read', error: 'EIO' });
  await assert.rejects(disk.read(0, Buffer.alloc(512)), failure);
  assert.equal((await disk.close(), disk.sizeBytes), MIB);
});

test('reading beyond the end fails before the server is asked', async () => {
  const socket = lab.newPath();
  await nbdkit(socket, BLOCKSIZE_POLICY, 'memory', '1M', ...blocksOnly(512));
  const disk = await openDisk(uriOf(socket));
  await assert.rejects(
    disk.read(MIB - 100, Buffer.alloc(101)),
    fails('source-changed', { endsAt: MIB }),
  );
  await disk.close();
});

test('a dirty bitmap of QEMU says what was written', async () => {
  const [image, socket] = [lab.newPath(), lab.newPath()];
  await must('qemu-img', ['create', '-q', '-f', 'qcow2', image, '64M']);
  await must('qemu-img', ['bitmap', '--add', '-g', '65536', image, 'since']);
  const writes = ['write 1M 64k', 'write 40000k 1k', 'write -z 60M 2M'].flatMap((each) => [
    '-c',
    each,
  ]);
  await must('qemu-io', ['-f', 'qcow2', ...writes, image]);
  await lab.start('qemu-nbd', (pidFile) => [
    '-r',
    '-t',
    '-f',
    'qcow2',
    '-e',
    '8',
    '-B',
    'since',
    `--pid-file=${pidFile}`,
    '-k',
    socket,
    image,
  ]);
  const context = 'qemu:dirty-bitmap:since';
  const disk = await openDisk(uriOf(socket), { contexts: [context] });
  const dirty: { offset: number; length: number }[] = [];
  let end = 0;
  for await (const { offset, length, flags } of disk.contextExtents(context, {
    offset: 0,
    length: 64 * MIB,
  })) {
    assert.equal(offset, end);
    end += length;
    if (flags === 1) dirty.push({ offset, length });
  }
  assert.equal(end, 64 * MIB);
  assert.deepEqual(dirty, [
    { offset: MIB, length: 65_536 },
    { offset: 625 * 65_536, length: 65_536 },
    { offset: 60 * MIB, length: 2 * MIB },
  ]);
  const unknown = disk.contextExtents('qemu:dirty-bitmap:other', { offset: 0, length: MIB });
  await assert.rejects(
    unknown.next(),
    fails('nbd-refused', { context: 'qemu:dirty-bitmap:other' }),
  );
  await disk.close();
});
