/** Where our server listens, and what it is called by. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { test } from 'node:test';
import { seededRandom } from '@coffer/base';
import { formatNbdUri } from './address.ts';
import { startNbdServer } from './server.ts';
import { fails, memoryDisk, MIB, must, nbdLab, openDisk, readAll } from './testing/lab.ts';

const lab = nbdLab();

test('it listens on a TCP port that is free', async () => {
  const contents = seededRandom(1).bytes(8 * MIB);
  const disk = memoryDisk(contents);
  const server = await lab.serve({
    exports: [{ name: 'x', disk, readOnly: true }],
    place: { form: 'tcp', host: '127.0.0.1', port: 0 },
  });
  assert.ok(server.place.form === 'tcp' && server.place.port > 0);
  const uri = formatNbdUri({ place: server.place, exportName: 'x', tls: false });
  assert.equal(await must('nbdinfo', ['--size', uri]), `${8 * MIB}\n`);
  const client = await openDisk(uri);
  assert.deepEqual(await readAll(client), contents);
  await client.close();
  const second = startNbdServer({ exports: [], place: server.place, onError: assert.ifError });
  await assert.rejects(second, fails('target-unwritable', { reason: 'EADDRINUSE' }));
});

test('a unix socket is only of its owner, and goes away with the server', async () => {
  const socket = lab.newPath();
  const mode = (): number => {
    const file = lab.newPath();
    writeFileSync(file, '');
    return statSync(file).mode;
  };
  const before = mode();
  const server = await startNbdServer({
    exports: [],
    place: { form: 'unix', path: socket },
    onError: assert.ifError,
  });
  assert.equal(statSync(socket).mode & 0o777, 0o600);
  assert.equal(mode(), before, 'other files are made as ever');
  await server.close();
  assert.ok(!existsSync(socket));
});

const listenOn = (path: string): ReturnType<typeof startNbdServer> =>
  startNbdServer({ exports: [], place: { form: 'unix', path }, onError: assert.ifError });

test('a socket that a dead server left is replaced', async () => {
  const socket = lab.newPath();
  await must('/usr/bin/python3', [
    '-c',
    `import socket; socket.socket(socket.AF_UNIX).bind(${JSON.stringify(socket)})`,
  ]);
  assert.ok(statSync(socket).isSocket());
  await (await listenOn(socket)).close();
});

test('a place that is taken, no socket, too long or not there is refused', async () => {
  const server = await lab.serve({ exports: [] });
  await assert.rejects(listenOn(server.socket), fails('target-unwritable', { reason: /another/ }));
  assert.ok(existsSync(server.socket), 'it is left as it is');
  const file = lab.newPath();
  writeFileSync(file, 'precious');
  await assert.rejects(listenOn(file), fails('target-unwritable', { reason: /no socket/ }));
  assert.equal(readFileSync(file, 'utf8'), 'precious');
  await assert.rejects(listenOn(`/tmp/${'x'.repeat(103)}`), fails('usage', { reason: /107/ }));
  await assert.rejects(listenOn(`${file}/x`), fails('target-unwritable', { reason: 'ENOTDIR' }));
  const nowhere = listenOn(`${lab.newPath()}/x`);
  await assert.rejects(nowhere, fails('target-unwritable', { place: /x$/ }));
});

test('names of exports that cannot be are refused', async () => {
  const disk = memoryDisk(Buffer.alloc(512));
  const serve = (...names: string[]): Promise<unknown> =>
    lab.serve({ exports: names.map((name) => ({ name, disk, readOnly: true })) });
  await assert.rejects(serve('a', 'a'), fails('usage', { reason: /twice/ }));
  await assert.rejects(serve('x'.repeat(4097)), fails('usage'));
  await assert.rejects(serve('a\0b'), fails('usage'));
});

test('a port that is in use by another program is not a stale socket', async () => {
  const socket = lab.newPath();
  const other: Server = createServer(() => {});
  await new Promise<void>((resolve) => other.listen(socket, resolve));
  await assert.rejects(listenOn(socket), fails('target-unwritable', { reason: /connected/ }));
  await new Promise((resolve) => other.close(resolve));
});
