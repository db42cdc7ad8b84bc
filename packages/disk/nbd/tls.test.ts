/** TLS both ways: our client and our server with each other, and with GnuTLS (nbdkit, libnbd). */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { type CofferError, seededRandom } from '@coffer/base';
import { heldClock } from '@coffer/base/testing/held-clock.ts';
import { formatNbdUri } from './address.ts';
import { encodeClientFlags, encodeGo, encodeOption } from './handshake-codec.ts';
import { OPTION, REPLY } from './protocol.ts';
import type { NbdServer } from './server.ts';
import { closed, fakeClient, readOptionReply } from './testing/fake-peers.ts';
import {
  fails,
  memoryDisk,
  MIB,
  must,
  nbdLab,
  openDisk,
  readAll,
  run,
  type Started,
  uriOf,
} from './testing/lab.ts';
import type { NbdTls } from './tls.ts';

const lab = nbdLab();
const contents = seededRandom(1).bytes(MIB);
const PKI = lab.path('pki');
/** With the certificates of another authority. */
const OTHER_PKI = lab.path('other');
/** Of a client that has no certificate. */
const NO_CLIENT_PKI = lab.path('none');
const KEYS = lab.path('keys.psk');
const certificates = (folder: string): NbdTls => ({ form: 'certificates', folder });
const psk = (user: string, file = KEYS): NbdTls => ({ form: 'psk', file, user });

before(async () => {
  await Promise.all([makePki(PKI), makePki(OTHER_PKI)]);
  cpSync(PKI, NO_CLIENT_PKI, { recursive: true });
  rmSync(join(NO_CLIENT_PKI, 'client-cert.pem'));
  rmSync(join(NO_CLIENT_PKI, 'client-key.pem'));
  await must('psktool', ['-u', 'alice', '-p', KEYS]);
  await must('psktool', ['-u', 'bob', '-p', KEYS]);
});

/** An authority, and a server (localhost, 127.0.0.1) and a client that it knows. */
async function makePki(folder: string): Promise<void> {
  mkdirSync(folder);
  const file = (name: string): string => join(folder, name);
  const usage = 'tls_www_server\ntls_www_client\nsigning_key\nencryption_key\n';
  const names = 'dns_name = "localhost"\nip_address = "127.0.0.1"\n';
  writeFileSync(file('ca.info'), 'cn = "Authority"\nca\ncert_signing_key\n');
  writeFileSync(file('one.info'), `cn = "localhost"\n${names}${usage}`);
  const makeKey = (name: string): Promise<string> =>
    must('certtool', ['--generate-privkey', '--key-type=ecdsa', '--outfile', file(name)]);
  await Promise.all(['ca-key.pem', 'server-key.pem', 'client-key.pem'].map(makeKey));
  await must('certtool', [
    '--generate-self-signed',
    '--load-privkey',
    file('ca-key.pem'),
    '--template',
    file('ca.info'),
    '--outfile',
    file('ca-cert.pem'),
  ]);
  await Promise.all(
    ['server', 'client'].map((name) =>
      must('certtool', [
        '--generate-certificate',
        '--load-ca-certificate',
        file('ca-cert.pem'),
        '--load-ca-privkey',
        file('ca-key.pem'),
        '--load-privkey',
        file(`${name}-key.pem`),
        '--template',
        file('one.info'),
        '--outfile',
        file(`${name}-cert.pem`),
      ]),
    ),
  );
}

type Served = NbdServer & { readonly uri: string; readonly errors: CofferError[] };

/** Our server with TLS on a TCP port. */
async function serve(tls: NbdTls, host = '127.0.0.1'): Promise<Served> {
  const errors: CofferError[] = [];
  const server = await lab.serve({
    exports: [{ name: 'x', disk: memoryDisk(Buffer.from(contents)), readOnly: false }],
    place: { form: 'tcp', host, port: 0 },
    tls,
    onError: (error) => void errors.push(error),
  });
  const uri = formatNbdUri({ place: server.place, exportName: 'x', tls: true });
  return { ...server, uri, errors };
}

async function readThrough(uri: string, tls: NbdTls): Promise<Buffer> {
  const disk = await openDisk(uri, { tls });
  try {
    return await readAll(disk);
  } finally {
    await disk.close();
  }
}

test('our client and our server know each other by certificates', async () => {
  const server = await serve(certificates(PKI));
  assert.deepEqual(await readThrough(server.uri, certificates(PKI)), contents);
  const byName = server.uri.replace('127.0.0.1', 'localhost');
  assert.deepEqual(await readThrough(byName, certificates(PKI)), contents);
  await server.close();
  assert.deepEqual(server.errors, []);
});

test('our client and our server know each other by shared keys', async () => {
  const server = await serve(psk(''));
  for (const user of ['alice', 'bob']) {
    const disk = await openDisk(server.uri, { tls: psk(user), writable: true });
    await disk.write(100, Buffer.from(user));
    assert.equal((await readAll(disk)).toString('utf8', 100, 100 + user.length), user);
    await disk.close();
  }
});

test('libnbd and QEMU read from our server by certificates', async () => {
  const server = await serve(certificates(PKI));
  const target = lab.newPath();
  await must('nbdcopy', [`${server.uri}?tls-certificates=${PKI}`, target]);
  assert.deepEqual(readFileSync(target), contents);
  assert.ok(server.place.form === 'tcp');
  await must('qemu-img', [
    'compare',
    '--image-opts',
    '--object',
    `tls-creds-x509,id=t,dir=${PKI},endpoint=client`,
    `driver=nbd,host=localhost,port=${server.place.port},export=x,tls-creds=t`,
    `driver=raw,file.driver=file,file.filename=${target}`,
  ]);
});

test('libnbd and QEMU write to our server by shared keys', async () => {
  const server = await serve(psk(''));
  const source = lab.newPath();
  writeFileSync(source, seededRandom(2).bytes(MIB));
  const { host } = new URL(server.uri);
  await must('nbdcopy', ['--flush', source, `nbds://alice@${host}/x?tls-psk-file=${KEYS}`]);
  assert.deepEqual(await readThrough(server.uri, psk('bob')), readFileSync(source));
  const folder = lab.path('qemu-psk');
  mkdirSync(folder);
  cpSync(KEYS, join(folder, 'keys.psk'));
  assert.ok(server.place.form === 'tcp');
  await must('qemu-img', [
    'compare',
    '--image-opts',
    '--object',
    `tls-creds-psk,id=t,dir=${folder},endpoint=client,username=alice`,
    `driver=nbd,host=localhost,port=${server.place.port},export=x,tls-creds=t`,
    `driver=raw,file.driver=file,file.filename=${source}`,
  ]);
});

/** nbdkit with TLS only, over a unix socket; it has the name `localhost`. */
async function nbdkit(...args: string[]): Promise<{ uri: string; server: Started }> {
  const [image, socket] = [lab.newPath(), lab.newPath()];
  writeFileSync(image, contents);
  const server = await lab.start('nbdkit', (pidFile) => [
    '-f',
    '-P',
    pidFile,
    '-U',
    socket,
    '--tls=require',
    ...args,
    'file',
    image,
  ]);
  return { uri: uriOf(socket), server };
}

test('our client reads from nbdkit by certificates and by shared keys', async () => {
  const byCertificate = await nbdkit(`--tls-certificates=${PKI}`, '--tls-verify-peer');
  assert.deepEqual(await readThrough(byCertificate.uri, certificates(PKI)), contents);
  const byKey = await nbdkit(`--tls-psk=${KEYS}`);
  assert.deepEqual(await readThrough(byKey.uri, psk('alice')), contents);
  const plain = openDisk(byKey.uri);
  await assert.rejects(plain, fails('nbd-refused', { reason: 'it asks for TLS' }));
  const wrong = openDisk(byCertificate.uri, { tls: certificates(OTHER_PKI) });
  await assert.rejects(wrong, fails('nbd-refused', { reason: /^TLS: / }));
  const nobody = openDisk(byKey.uri, { tls: psk('alice', otherKeys()) });
  await assert.rejects(nobody, fails('nbd-refused', { reason: /^TLS: / }));
  const none = openDisk(byCertificate.uri, { tls: certificates(NO_CLIENT_PKI) });
  await assert.rejects(none, fails('nbd-refused', { reason: /^TLS: / }));
});

/** Keys of the same users, which are others. */
function otherKeys(): string {
  const file = lab.newPath();
  writeFileSync(file, `# Comment\nalice:${'ab'.repeat(32)}\nbob:${'cd'.repeat(32)}\n`);
  return file;
}

test('who does not know the other is told so, and nothing else happens', async () => {
  const server = await serve(certificates(PKI));
  const refused = fails('nbd-refused', { server: /127/, reason: /^TLS: / });
  // The client does not trust the server.
  await assert.rejects(readThrough(server.uri, certificates(OTHER_PKI)), refused);
  // The server asks for a certificate.
  await assert.rejects(readThrough(server.uri, certificates(NO_CLIENT_PKI)), refused);
  // The server does not trust the certificate.
  const stranger = lab.path('stranger');
  cpSync(OTHER_PKI, stranger, { recursive: true });
  cpSync(join(PKI, 'ca-cert.pem'), join(stranger, 'ca-cert.pem'));
  await assert.rejects(readThrough(server.uri, certificates(stranger)), refused);
  await assert.rejects(readThrough(server.uri, psk('alice')), refused);
  assert.ok(server.errors.length >= 3);
  assert.ok(server.errors.every(({ code }) => code === 'nbd-refused'));

  const keyed = await serve(psk(''));
  await assert.rejects(readThrough(keyed.uri, psk('alice', otherKeys())), refused);
  const carol = lab.newPath();
  writeFileSync(carol, `carol:${'ab'.repeat(32)}\n`);
  await assert.rejects(readThrough(keyed.uri, psk('carol', carol)), refused);
  const [uri, other] = [new URL(keyed.uri).host, otherKeys()];
  const said = await run('nbdinfo', ['--size', `nbds://alice@${uri}/x?tls-psk-file=${other}`]);
  assert.notEqual(said.code, 0);
});

test('a certificate counts for its names and addresses only', async () => {
  const server = await serve(certificates(PKI), '127.0.0.2');
  const reading = readThrough(server.uri, certificates(PKI));
  await assert.rejects(reading, fails('nbd-refused', { reason: /IP: 127\.0\.0\.2|altnames/ }));
});

test('a plain client is refused by a server with TLS, and the other way round', async () => {
  const server = await serve(certificates(PKI));
  await assert.rejects(openDisk(server.uri), fails('nbd-refused', { reason: 'it asks for TLS' }));
  const said = await run('nbdinfo', ['--size', server.uri.replace('nbds:', 'nbd:')]);
  assert.notEqual(said.code, 0);
  assert.match(said.stderr, /TLS/);

  const plain = await lab.serve({
    exports: [{ name: '', disk: memoryDisk(Buffer.alloc(512)), readOnly: true }],
  });
  const opening = openDisk(plain.uri, { tls: certificates(PKI) });
  await assert.rejects(opening, fails('nbd-refused', { reason: 'its policy forbids it' }));
});

test('a client that says something in the clear after TLS was agreed, or nothing, is left', async () => {
  const handshakeTimeoutMs = 60_000;
  const clock = heldClock();
  const errors: CofferError[] = [];
  const server = await lab.serve({
    exports: [{ name: '', disk: memoryDisk(Buffer.alloc(512)), readOnly: true }],
    tls: psk(''),
    handshakeTimeoutMs,
    clock,
    onError: (error) => void errors.push(error),
  });
  const startTls = encodeOption({ option: OPTION.startTls, data: Buffer.alloc(0) });
  const go = encodeOption({ option: OPTION.go, data: encodeGo('', []) });
  const talking = await fakeClient(server.socket);
  await talking.connection.write(Buffer.concat([encodeClientFlags(3), startTls, go]));
  await closed(talking);
  assert.deepEqual(
    errors.map(({ code }) => code),
    ['nbd-protocol'],
  );
  assert.match(errors[0]!.message, /in the clear/);
  const silent = await fakeClient(server.socket);
  await silent.connection.write(encodeClientFlags(3), startTls);
  assert.equal((await readOptionReply(silent.connection)).type, REPLY.ack);
  clock.pass(handshakeTimeoutMs);
  await closed(silent);
  await server.close();
  assert.deepEqual(
    errors.map(({ code }) => code),
    ['nbd-protocol', 'nbd-timeout'],
  );
});

test('what is missing or not valid in a folder or file is told', async () => {
  const server = await serve(certificates(PKI));
  const empty = lab.path('empty');
  mkdirSync(empty);
  await assert.rejects(serve(certificates(empty)), fails('usage', { reason: /ENOENT/ }));
  await assert.rejects(openDisk(server.uri, { tls: certificates(empty) }), fails('usage'));
  const damaged = lab.path('damaged');
  cpSync(PKI, damaged, { recursive: true });
  writeFileSync(join(damaged, 'server-cert.pem'), 'no certificate');
  writeFileSync(join(damaged, 'client-key.pem'), 'no key');
  await assert.rejects(serve(certificates(damaged)), fails('usage', { reason: /not a cert/ }));
  const opening = openDisk(server.uri, { tls: certificates(damaged) });
  await assert.rejects(opening, fails('usage', { reason: /not a cert/ }));
  const mixed = lab.path('mixed');
  cpSync(PKI, mixed, { recursive: true });
  cpSync(join(OTHER_PKI, 'server-key.pem'), join(mixed, 'server-key.pem'));
  await assert.rejects(serve(certificates(mixed)), fails('usage'));
  await assert.rejects(openDisk(server.uri, { tls: psk('carol') }), fails('usage'));
  const weak = lab.newPath();
  writeFileSync(weak, 'alice:abcdef\n');
  await assert.rejects(serve(psk('', weak)), fails('usage', { reason: /16 bytes/ }));
});
