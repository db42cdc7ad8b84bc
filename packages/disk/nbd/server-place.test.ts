/** Where our server listens, and what it is called by. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
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
  const folder = lab.newPath();
  mkdirSync(folder);
  const server = await listenOn(join(folder, 'socket'));
  assert.deepEqual(readdirSync(folder), ['socket']);
  assert.equal(statSync(join(folder, 'socket')).mode & 0o777, 0o600);
  await server.close();
  assert.deepEqual(readdirSync(folder), []);
});

test('what another thread makes meanwhile is made as ever', async () => {
  const parent = lab.newPath();
  mkdirSync(parent);
  const stopped = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(MAKING_FOLDERS, { eval: true, workerData: { parent, stopped } });
  const seen = once(worker, 'message');
  await once(worker, 'online');
  for (let round = 0; round < 50; round++) await (await listenOn(lab.newPath())).close();
  Atomics.store(stopped, 0, 1);
  const [modes] = (await seen) as [number[]];
  assert.deepEqual(modes, [statSync(parent).mode & 0o777]);
});

/** Tells the modes of all folders that it has made, until it is told to stop. */
const MAKING_FOLDERS = `
  const { mkdirSync, rmdirSync, statSync } = require('node:fs');
  const { parentPort, workerData: { parent, stopped } } = require('node:worker_threads');
  const modes = new Set();
  do {
    mkdirSync(parent + '/folder');
    modes.add(statSync(parent + '/folder').mode & 0o777);
    rmdirSync(parent + '/folder');
  } while (Atomics.load(stopped, 0) === 0);
  parentPort.postMessage([...modes]);
`;

test('a path may be as long as the system allows, with a short name at its end', async () => {
  const folder = lab.path('x'.repeat(107 - 3 - lab.path('').length));
  mkdirSync(folder);
  const server = await lab.serve({ exports: [], place: { form: 'unix', path: `${folder}/s` } });
  const knocking = connect(`${folder}/s`);
  await once(knocking, 'connect');
  knocking.destroy();
  await server.close();
});

test('a name that is taken while it begins to listen is left to who has it', async () => {
  const socket = lab.newPath();
  const both = await Promise.allSettled([listenOn(socket), listenOn(socket)]);
  const servers = both.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  assert.equal(servers.length, 1);
  const [refused] = both.filter((each) => each.status === 'rejected');
  assert.ok(fails('target-unwritable', { reason: 'EADDRINUSE' })(refused?.reason));
  const knocking = connect(socket);
  await once(knocking, 'connect');
  knocking.destroy();
  await servers[0]?.close();
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
