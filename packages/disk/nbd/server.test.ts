/** Our server, judged by the clients of libnbd and QEMU. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { CofferError, seededRandom } from '@coffer/base';
import { openRawDisk } from '../raw.ts';
import { formatNbdUri } from './address.ts';
import {
  fails,
  memoryDisk,
  MIB,
  must,
  nbdLab,
  openDisk,
  rawDisk,
  run,
  sparseContents,
  uriOf,
} from './testing/lab.ts';

const lab = nbdLab();

test('nbdinfo is told what an export can do', async () => {
  const { disk } = await rawDisk(lab);
  const server = await lab.serve({
    exports: [
      { name: 'rw', disk, readOnly: false },
      { name: 'ro', disk, readOnly: true, preferredSizeBytes: 65_536 },
    ],
  });
  const info = async (name: string): Promise<Record<string, unknown>> => {
    const said = await must('nbdinfo', ['--json', uriOf(server.socket, name)]);
    const parsed = JSON.parse(said) as { exports: Record<string, unknown>[] };
    return parsed.exports[0]!;
  };
  const { contexts, ...writable } = await info('rw');
  assert.deepEqual(contexts, ['base:allocation']);
  assert.partialDeepStrictEqual(writable, {
    'export-name': 'rw',
    'export-size': 8 * MIB,
    is_read_only: false,
    can_cache: true,
    can_df: true,
    can_fast_zero: false,
    can_flush: true,
    can_fua: true,
    can_multi_conn: true,
    can_trim: true,
    can_zero: true,
    block_size_minimum: 1,
    block_size_preferred: 4096,
    block_size_maximum: 32 * MIB,
  });
  assert.partialDeepStrictEqual(await info('ro'), {
    is_read_only: true,
    can_trim: false,
    can_zero: false,
    can_flush: true,
    block_size_preferred: 65_536,
  });
});

test('many exports are listed and found by their names', async () => {
  const names = ['', 'ü/ß 1', ...Array.from({ length: 48 }, (_, index) => `disk-${index}`)];
  const server = await lab.serve({
    exports: names.map((name, index) => ({
      name,
      disk: memoryDisk(Buffer.alloc(512 * (index + 1), index)),
      readOnly: true,
      description: index === 0 ? 'the first' : '',
    })),
  });
  const { exports } = JSON.parse(await must('nbdinfo', ['--list', '--json', server.uri])) as {
    exports: { 'export-name': string; 'export-size': number }[];
  };
  const sizes = exports.map((each) => [each['export-name'], each['export-size']]);
  assert.deepEqual(
    sizes,
    names.map((name, index) => [name, 512 * (index + 1)]),
  );
  const listed = await must('qemu-nbd', ['--list', '-k', server.socket]);
  assert.equal(listed.match(/^ export: /gm)?.length, names.length);
  const unknown = await run('nbdinfo', ['--size', uriOf(server.socket, 'disk-48')]);
  assert.notEqual(unknown.code, 0);
  assert.match(unknown.stderr, /disk-48/);
  assert.match(await must('nbdinfo', ['--list', server.uri]), /description: the first/);
  const exportName = 'ü/ß 1';
  const uri = formatNbdUri({
    place: { form: 'unix', path: server.socket },
    exportName,
    tls: false,
  });
  assert.equal(await must('nbdinfo', ['--size', uri]), '1024\n');
});

test('nbdinfo and qemu-img are told what is allocated', async () => {
  const { disk } = await rawDisk(lab);
  const server = await lab.serve({ exports: [{ name: '', disk, readOnly: true }] });
  const map = JSON.parse(await must('nbdinfo', ['--map', '--json', server.uri])) as object[];
  const [hole, data] = [3, 0];
  assert.deepEqual(
    map.map((each) => Object.fromEntries(Object.entries(each).slice(0, 3))),
    [
      { offset: 0, length: MIB, type: hole },
      { offset: MIB, length: MIB, type: data },
      { offset: 2 * MIB, length: 3 * MIB, type: hole },
      { offset: 5 * MIB, length: 4096, type: data },
      { offset: 5 * MIB + 4096, length: 3 * MIB - 4096, type: hole },
    ],
  );
  const qemuMap = JSON.parse(
    await must('qemu-img', ['map', '--output=json', '-f', 'raw', server.uri]),
  ) as { start: number; data: boolean }[];
  assert.deepEqual(
    qemuMap.map(({ start, data }) => ({ start, data })),
    [
      { start: 0, data: false },
      { start: MIB, data: true },
      { start: 2 * MIB, data: false },
      { start: 5 * MIB, data: true },
      { start: 5 * MIB + 4096, data: false },
    ],
  );
});

test('nbdcopy and qemu-img copy both ways', async () => {
  const expected = sparseContents();
  const { disk } = await rawDisk(lab);
  const target = await rawDisk(lab, Buffer.alloc(8 * MIB, 7));
  const server = await lab.serve({
    exports: [
      { name: 'from', disk, readOnly: true },
      { name: 'to', disk: target.disk, readOnly: false },
    ],
  });
  const [from, to] = [uriOf(server.socket, 'from'), uriOf(server.socket, 'to')];
  const copy = lab.newPath();
  await must('nbdcopy', [from, copy]);
  assert.deepEqual(readFileSync(copy), expected);
  await must('nbdcopy', ['--flush', copy, to]);
  assert.deepEqual(readFileSync(target.image), expected);
  await must('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', from, to]);

  const other = lab.newPath();
  writeFileSync(other, seededRandom(3).bytes(8 * MIB));
  await must('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', '-W', '-m', '8', other, to]);
  await must('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', other, to]);
  assert.deepEqual(readFileSync(target.image), readFileSync(other));
  const qcow2 = lab.newPath();
  await must('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', from, qcow2]);
  await must('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', qcow2, from]);
});

test('qemu-io reads and writes what it wants to', async () => {
  const { disk, image } = await rawDisk(lab);
  const server = await lab.serve({ exports: [{ name: '', disk, readOnly: false }] });
  const commands = [
    'read -P 0 0 1M',
    'write -P 0xab 3M 100k',
    'write -f -P 0xcd 4000k 512',
    'write -z -u 1M 512k',
    'discard 1536k 512k',
    'flush',
    'read -P 0xab 3M 100k',
    'read -P 0xcd 4000k 512',
    'read -P 0 1M 1M',
  ].flatMap((each) => ['-c', each]);
  const said = await must('qemu-io', ['-f', 'raw', ...commands, server.uri]);
  assert.doesNotMatch(said, /failed/i);
  const expected = sparseContents();
  expected.fill(0, MIB, 2 * MIB).fill(0xab, 3 * MIB, 3 * MIB + 102_400);
  expected.fill(0xcd, 4_096_000, 4_096_512);
  assert.deepEqual(readFileSync(image), expected);
});

test('a disk that fails is an error of the client, told here, and the connection lives on', async () => {
  const told: CofferError[] = [];
  const bytes = sparseContents();
  const secret = new CofferError('source-unreadable', { path: '/secret/place' });
  const disk = memoryDisk(bytes, {
    read: async (offset, target) => {
      if (offset === 4096) throw secret;
      if (offset === 8192) throw new TypeError('unexpected');
      target.set(bytes.subarray(offset, offset + target.length));
    },
    write: () => Promise.reject(new CofferError('target-full')),
  });
  const onError = (error: CofferError): void => void told.push(error);
  const server = await lab.serve({ exports: [{ name: '', disk, readOnly: false }], onError });
  const client = await openDisk(server.uri, { writable: true });
  const target = Buffer.alloc(512);
  await assert.rejects(client.read(4096, target), (error: unknown) => {
    assert.ok(error instanceof CofferError);
    assert.equal(error.details['error'], 'EIO');
    assert.doesNotMatch(error.message, /secret/);
    return true;
  });
  await assert.rejects(client.read(8192, target), fails('nbd-failed', { error: 'EIO' }));
  await assert.rejects(client.write(0, target), fails('target-full'));
  await client.read(MIB, target);
  assert.deepEqual(target, bytes.subarray(MIB, MIB + 512));
  assert.deepEqual(
    told.map(({ code }) => code),
    ['source-unreadable', 'internal', 'target-full'],
  );
  await client.close();
});

test('a raw disk outlives the server, and is whole after it', async () => {
  const { disk, image } = await rawDisk(lab);
  const server = await lab.serve({ exports: [{ name: '', disk, readOnly: false }] });
  const client = await openDisk(server.uri, { writable: true });
  await client.write(0, Buffer.from('written'));
  await server.close();
  await assert.rejects(client.write(0, Buffer.from('lost')), fails('nbd-unreachable'));
  await client.close();
  await disk.close();
  const again = await openRawDisk(image);
  const start = Buffer.alloc(7);
  await again.read(0, start);
  assert.equal(start.toString(), 'written');
  await again.close();
});
