/**
 * A reader written from FORMAT.md alone: offsets by hand, no codec of the code. When it cannot read
 * the golden repository, the document is wrong, or the code is.
 */
import assert from 'node:assert/strict';
import {
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  scryptSync,
} from 'node:crypto';
import { globSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import { Blake3Hasher } from '@napi-rs/blake-hash';

const FOLDER = join(import.meta.dirname, 'golden/v1/objects');
const FACTS = JSON.parse(readFileSync(join(FOLDER, '../facts.json'), 'utf8')) as {
  passphrase: string;
  recoveryKey: string;
  sealedPrivateKey: string;
  receiptKey: string;
  job: { key: string; point: string };
  points: {
    id: string;
    item: string;
    kind: string;
    holders: string[];
    isDeleted: boolean;
    hasReceipt: boolean;
    copyOf?: string;
    contents: Record<string, string>;
  }[];
};
const ZEROES = Buffer.alloc(32);

function object(name: string): Buffer {
  return readFileSync(join(FOLDER, name));
}

function names(folder: string): string[] {
  return globSync(`${folder}/**/*`, { cwd: FOLDER })
    .filter((name) => statSync(join(FOLDER, name)).isFile())
    .sort();
}

function blake3(...parts: readonly Buffer[]): Buffer {
  const hasher = new Blake3Hasher();
  for (const part of parts) hasher.update(part);
  return hasher.digestBuffer();
}

function keyedBlake3(key: Buffer, ...parts: readonly Buffer[]): Buffer {
  const hasher = Blake3Hasher.newKeyed(key);
  for (const part of parts) hasher.update(part);
  return hasher.digestBuffer();
}

/** The function GCM of FORMAT.md, backwards. */
function openGcm(key: Buffer, nonce: Buffer, aad: Buffer, sealed: Buffer): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, nonce);
  decipher.setAAD(aad);
  decipher.setAuthTag(sealed.subarray(-16));
  return Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()]);
}

function hkdf(material: Buffer, salt: Buffer, info: string): Buffer {
  return Buffer.from(hkdfSync('sha256', material, salt, info, 32));
}

const base64url = (bytes: Buffer): string => bytes.toString('base64url');

function x25519(privateKey: Buffer, itsPublicKey: Buffer, publicKey: Buffer): Buffer {
  const jwk = { kty: 'OKP', crv: 'X25519' };
  const own = { ...jwk, x: base64url(itsPublicKey), d: base64url(privateKey) };
  return diffieHellman({
    privateKey: createPrivateKey({ key: own, format: 'jwk' }),
    publicKey: createPublicKey({ key: { ...jwk, x: base64url(publicKey) }, format: 'jwk' }),
  });
}

// Section 2.
function record(kind: string, name: string): unknown {
  const bytes = object(name);
  const lines = bytes.subarray(0, bytes.length - 65);
  assert.equal(bytes.toString('latin1', bytes.length - 65), `${blake3(lines).toString('hex')}\n`);
  const [first, second, rest] = lines.toString('utf8').split('\n');
  assert.equal(first, `coffer ${kind} 1`);
  assert.equal(rest, '');
  return JSON.parse(second!) as unknown;
}

// Sections 3 and 5.
interface Keys {
  publicKey: Buffer;
  privateKey: Buffer;
  hashKey: Buffer;
}

function unlock(): Keys[] {
  const config = record('config', 'config') as Record<string, string>;
  assert.deepEqual(object('config-copy'), object('config'));
  return names('keys').map((name) => {
    const slot = record('key', name) as Record<string, string>;
    assert.equal(slot['publicKey'], config['publicKey']);
    const salt = Buffer.from(config['publicKey']!, 'hex');
    const opened = slot['kind'] === 'sealed' ? openSealed(slot, salt) : openWrapped(slot, salt);
    assert.equal(name, `keys/${opened.slotName}`);
    const { secrets } = opened;
    const hashKey = secrets.subarray(32, 64);
    const check = Blake3Hasher.deriveKey('coffer 1 hash key check', hashKey);
    assert.equal(check.toString('hex'), config['hashKeyCheck']);
    const publicKey = Buffer.from(config['publicKey']!, 'hex');
    return { publicKey, privateKey: secrets.subarray(0, 32), hashKey };
  });
}

interface OpenedSlot {
  slotName: string;
  secrets: Buffer;
}

function openWrapped(slot: Record<string, string>, salt: Buffer): OpenedSlot {
  const letters = FACTS.recoveryKey.replaceAll('-', '').slice(0, 32);
  const options = { N: 65_536, r: 8, p: 1, maxmem: 2 ** 27 };
  const material =
    slot['kind'] === 'recovery'
      ? Buffer.from(letters)
      : scryptSync(FACTS.passphrase, salt, 32, options);
  const slotKey = hkdf(material, salt, 'coffer 1 key slot key');
  const slotName = hkdf(material, salt, 'coffer 1 key slot name').toString('hex', 0, 8);
  const wrapped = Buffer.from(slot['wrapped']!, 'hex');
  return { slotName, secrets: openGcm(slotKey, Buffer.alloc(12), Buffer.alloc(0), wrapped) };
}

function openSealed(slot: Record<string, string>, salt: Buffer): OpenedSlot {
  const publicKey = Buffer.from(slot['sealedTo']!, 'hex');
  const privateKey = Buffer.from(FACTS.sealedPrivateKey, 'hex');
  const keys = { publicKey, privateKey, hashKey: ZEROES };
  const aad = Buffer.concat([Buffer.from('coffer 1 key slot '), salt]);
  const secrets = openSealedBox(keys, Buffer.from(slot['wrapped']!, 'hex'), aad);
  const slotName = hkdf(publicKey, salt, 'coffer 1 sealed slot name').toString('hex', 0, 8);
  return { slotName, secrets };
}

// Section 4.
function openSealedBox({ privateKey, publicKey }: Keys, box: Buffer, aad: string | Buffer): Buffer {
  const e = box.subarray(0, 32);
  const shared = x25519(privateKey, publicKey, e);
  const key = hkdf(shared, Buffer.concat([e, publicKey]), 'coffer 1 sealed box');
  return openGcm(
    key,
    Buffer.alloc(12),
    typeof aad === 'string' ? Buffer.from(aad) : aad,
    box.subarray(32),
  );
}

interface Entry {
  pack: string;
  box: Buffer;
  isNode: boolean;
  form: number;
  ordinal: number;
  offset: number;
  length: number;
  plainLength: number;
}

// Section 9: the footer at `start`; returns where it ends.
function footer(bytes: Buffer, start: number, pack: string, chunks: Map<string, Entry>): number {
  const boxCount = bytes.readUInt16LE(start);
  const boxes = start + 2;
  const entryCount = bytes.readUInt32LE(boxes + boxCount * 80);
  const entries = boxes + boxCount * 80 + 4;
  for (let at = entries; at < entries + entryCount * 51; at += 51) {
    assert.ok(bytes[at + 32]! <= 2);
    const boxAt = boxes + bytes.readUInt16LE(at + 33) * 80;
    chunks.set(bytes.toString('hex', at, at + 32), {
      pack,
      box: bytes.subarray(boxAt, boxAt + 80),
      isNode: (bytes[at + 31]! & 1) !== 0,
      form: bytes[at + 32]!,
      ordinal: bytes.readUInt32LE(at + 35),
      offset: bytes.readUInt32LE(at + 39),
      length: bytes.readUInt32LE(at + 43),
      plainLength: bytes.readUInt32LE(at + 47),
    });
  }
  return entries + entryCount * 51;
}

function packName(pack: string): string {
  return `packs/${pack.slice(0, 2)}/${pack}`;
}

// Section 10.
function chunksOfIndex(): Map<string, Entry> {
  const chunks = new Map<string, Entry>();
  for (const name of names('index')) {
    const bytes = object(name);
    assert.equal(name.slice(-64), blake3(bytes).toString('hex'));
    assert.equal(bytes.toString('latin1', 0, 8), 'CFRINDX1');
    let at = 12;
    for (let left = bytes.readUInt32LE(8); left > 0; left--) {
      const pack = bytes.toString('hex', at, at + 32);
      assert.equal(object(packName(pack)).length, bytes.readUInt32LE(at + 32));
      at = footer(bytes, at + 36, pack, chunks);
    }
    assert.equal(at, bytes.length);
  }
  return chunks;
}

// Section 9: all packs, by their own footers.
function chunksOfPacks(): Map<string, Entry> {
  const chunks = new Map<string, Entry>();
  for (const name of names('packs')) {
    const bytes = object(name);
    const pack = name.slice(-64);
    assert.equal(pack, blake3(bytes).toString('hex'));
    const trailer = bytes.length - 12;
    for (const at of [0, trailer + 4])
      assert.equal(bytes.toString('latin1', at, at + 8), 'CFRPACK1');
    const start = trailer - bytes.readUInt32LE(trailer);
    assert.equal(footer(bytes, start, pack, chunks), trailer);
  }
  return chunks;
}

// Section 7.
function plainOf(content: Buffer, form: number): Buffer {
  if (form < 2) return form === 1 ? zstdDecompressSync(content) : content;
  const n = content.readUInt32LE(0);
  const length = n % 2 ** 31;
  assert.equal(content.length, 4 + classOf(length));
  const c = content.subarray(4, 4 + length);
  assert.ok(content.subarray(4 + length).every((byte) => byte === 0));
  return n >= 2 ** 31 ? zstdDecompressSync(c) : c;
}

function classOf(size: number): number {
  if (size <= 256) return 256;
  const step = 2 ** (Math.floor(Math.log2(size)) - 4);
  return Math.ceil(size / step) * step;
}

// Section 6.
function withLastBit(id: Buffer, bit: number): Buffer {
  const changed = Buffer.from(id);
  changed[31] = (changed[31]! & 0xfe) | bit;
  return changed;
}

class Reader {
  readonly #keys: Keys;
  readonly #chunks = chunksOfIndex();
  readonly #read = new Map<string, { children: Buffer[]; plain: Buffer }>();

  constructor(keys: Keys) {
    this.#keys = keys;
  }

  /** Sections 6, 7 and 11. */
  chunk(id: Buffer): { children: Buffer[]; plain: Buffer } {
    const hex = id.toString('hex');
    const known = this.#read.get(hex) ?? this.#open(id, this.#chunks.get(hex)!);
    this.#read.set(hex, known);
    return known;
  }

  #open(id: Buffer, entry: Entry): { children: Buffer[]; plain: Buffer } {
    const { offset, length, isNode, form } = entry;
    const bytes = object(packName(entry.pack)).subarray(offset, offset + length);
    const childCount = isNode ? bytes.readUInt32LE(0) : 0;
    const head = bytes.subarray(0, isNode ? 4 + childCount * 32 : 0);
    const nonce = Buffer.alloc(12);
    nonce.writeUInt32LE(entry.ordinal, 0);
    const aad = Buffer.concat([id, Buffer.from([Number(isNode), form])]);
    const tag = bytes.subarray(head.length, isNode ? head.length + 32 : 0);
    const packKey = openSealedBox(this.#keys, entry.box, 'coffer 1 pack key');
    const content = openGcm(packKey, nonce, aad, bytes.subarray(head.length + tag.length));
    const plain = plainOf(content, form);
    assert.equal(form === 2 ? classOf(plain.length) : plain.length, entry.plainLength);
    const context = isNode ? 'coffer 1 node tag' : 'coffer 1 data chunk id';
    const own = keyedBlake3(Blake3Hasher.deriveKey(context, this.#keys.hashKey), head, plain);
    if (isNode) {
      assert.deepEqual(own, tag);
      const key = Blake3Hasher.deriveKey('coffer 1 node id', Buffer.alloc(0));
      assert.deepEqual(withLastBit(keyedBlake3(key, head, tag), 1), id);
    } else assert.deepEqual(withLastBit(own, 0), id);
    const children: Buffer[] = [];
    for (let at = 4; at < head.length; at += 32) children.push(head.subarray(at, at + 32));
    return { children, plain };
  }

  data(id: Buffer, length: number): Buffer {
    if (id.equals(ZEROES)) return Buffer.alloc(length);
    const { plain } = this.chunk(id);
    assert.equal(plain.length, length);
    return plain;
  }
}

// Section 11.1.
function hashDisk(reader: Reader, root: Buffer, sizeBytes: number): string {
  const chunkCount = Math.ceil(sizeBytes / 262_144);
  let levels = 1;
  while (512 ** levels < chunkCount) levels++;
  const hasher = new Blake3Hasher();
  const walk = (id: Buffer, level: number, first: number): void => {
    if (level === 0) {
      hasher.update(reader.data(id, Math.min(262_144, sizeBytes - first * 262_144)));
      return;
    }
    const reach = 512 ** (level - 1);
    const count = Math.min(512, Math.ceil((chunkCount - first) / reach));
    const children = id.equals(ZEROES)
      ? Array<Buffer>(count).fill(ZEROES)
      : reader.chunk(id).children;
    assert.equal(children.length, count);
    children.forEach((child, index) => walk(child, level - 1, first + index * reach));
  };
  walk(root, levels, 0);
  return hasher.digestBuffer().toString('hex');
}

/** Reads the fields of a body. */
class Fields {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  u8(): number {
    return this.#bytes[this.#at++]!;
  }

  varint(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.u8();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  }

  u64(): bigint {
    this.#at += 8;
    return this.#bytes.readBigUInt64LE(this.#at - 8);
  }

  /** Seconds and nanoseconds, as nanoseconds. */
  time(): bigint {
    this.#at += 12;
    const seconds = this.#bytes.readBigInt64LE(this.#at - 12);
    return seconds * 1_000_000_000n + BigInt(this.#bytes.readUInt32LE(this.#at - 4));
  }

  bytes(): Buffer {
    const size = this.varint();
    this.#at += size;
    return this.#bytes.subarray(this.#at - size, this.#at);
  }

  end(): void {
    assert.equal(this.#at, this.#bytes.length);
  }
}

type Piece = [id: Buffer, length: number];

// Section 11.2.
function piecesOf(reader: Reader, root: Buffer): Piece[] {
  const { children, plain } = reader.chunk(root);
  const fields = new Fields(plain);
  const form = fields.u8();
  assert.ok(form === 3 || form === 4);
  const pieces = children.flatMap((id): Piece[] => {
    const length = fields.varint();
    return form === 3 ? [[id, length]] : piecesOf(reader, id);
  });
  fields.end();
  return pieces;
}

interface Found {
  type: number;
  name: string;
  facts: unknown[];
  folder?: Buffer;
  pieces: Piece[];
}

// Section 11.3.
function entriesOf(reader: Reader, root: Buffer): Found[] {
  const { children, plain } = reader.chunk(root);
  const fields = new Fields(plain);
  const form = fields.u8();
  if (form === 2) {
    const found = children.flatMap((page) => {
      const entries = entriesOf(reader, page);
      assert.equal(entries[0]?.name, fields.bytes().toString('latin1'));
      return entries;
    });
    fields.end();
    return found;
  }
  assert.equal(form, 1);
  const ids = children.values();
  const count = fields.varint();
  const found = Array.from({ length: count }, () => entry(reader, fields, () => ids.next().value!));
  fields.end();
  assert.equal(ids.next().done, true);
  return found;
}

function entry(reader: Reader, fields: Fields, child: () => Buffer): Found {
  const type = fields.u8();
  const flags = fields.u8();
  const name = fields.bytes().toString('latin1');
  const facts: unknown[] = [fields.varint(), fields.varint(), fields.varint()];
  facts.push(fields.time(), fields.time());
  fields.u64();
  if (flags & 1) facts.push(fields.u64(), typeof fields.u64());
  if (flags & 2) {
    for (let left = fields.varint(); left > 0; left--) {
      facts.push(fields.bytes().toString(), fields.bytes().toString());
    }
  }
  if (type === 0) {
    const sizeBytes = fields.varint();
    const pieces =
      flags & 4
        ? piecesOf(reader, child())
        : Array.from({ length: fields.varint() }, (): Piece => {
            const length = fields.varint();
            return [child(), length];
          });
    assert.equal(
      pieces.reduce((sum, [, length]) => sum + length, 0),
      sizeBytes,
    );
    return { type, name, facts, pieces };
  }
  if (type === 1) return { type, name, facts, folder: child(), pieces: [] };
  if (type === 2) facts.push(fields.bytes().toString());
  if (type === 5 || type === 6) facts.push(fields.u64());
  return { type, name, facts, pieces: [] };
}

function hashFiles(reader: Reader, root: Buffer, found: Record<string, string>): typeof found {
  for (const { name, pieces, folder } of entriesOf(reader, root)) {
    if (folder) hashFiles(reader, folder, found);
    if (pieces.length === 0) continue;
    const hasher = new Blake3Hasher();
    for (const [id, length] of pieces) hasher.update(reader.data(id, length));
    found[name] = hasher.digestBuffer().toString('hex');
  }
  return found;
}

// Sections 12, 13 and 14.
interface Point {
  item: string;
  kind: string;
  takenAt: number;
  roots: { name: string; root: string; sizeBytes: number }[];
  manifest: string;
  copyOf?: string;
}

function points({ hashKey }: Keys): Map<string, Point> {
  const sweeps = names('gc').filter((name) => name.endsWith('-sweep'));
  const sweep = record('gc', sweeps.at(-1)!) as { generation: number; survivors: string[] };
  const found = new Map<string, Point>();
  for (const name of names('points')) {
    const [, folder, generation, id] = /^points\/(.{32})\/(\d{8})-(.{32})$/.exec(name)!;
    const point = record('point', name) as Point;
    assert.equal(id, blake3(object(name)).toString('hex', 0, 16));
    assert.equal(folder, blake3(Buffer.from(point.item)).toString('hex', 0, 16));
    checkMac(object(name), 'coffer 1 point mac', hashKey);
    if (Number(generation) < sweep.generation && !sweep.survivors.includes(id)) continue;
    found.set(id, point);
  }
  for (const name of names('sessions').filter((each) => each.endsWith('-end'))) {
    const end = record('session', name) as {
      session: string;
      outcome: string;
      generation: number;
      points: { id: string; record: string }[];
    };
    assert.equal(name, `sessions/${end.session}-end`);
    assert.equal(end.outcome, 'committed');
    const { process, ...begin } = record('session', `sessions/${end.session}-begin`) as {
      session: string;
      startedAt: number;
      host: string;
      process: { bootId: string; pidNamespace: string; processId: number; startedAtTicks: number };
    };
    assert.deepEqual(
      [begin.session, begin.host, typeof begin.startedAt],
      [end.session, 'host', 'number'],
    );
    assert.match(process.bootId, /^[0-9a-f-]{36}$/);
    assert.match(process.pidNamespace, /^pid:\[\d+\]$/);
    assert.ok(process.processId > 0 && process.startedAtTicks > 0);
    assert.ok(end.generation >= sweep.generation);
    for (const { id, record: text } of end.points) {
      checkMac(Buffer.from(text, 'base64'), 'coffer 1 point mac', hashKey);
      const [, json] = Buffer.from(text, 'base64').toString('utf8').split('\n');
      found.set(id, JSON.parse(json!) as Point);
    }
  }
  return found;
}

function checkMac(bytes: Buffer, context: string, material: Buffer): void {
  const end = bytes.length - 68;
  const key = Blake3Hasher.deriveKey(context, material);
  const covered = bytes.subarray(0, end - 64);
  assert.ok(covered.toString('utf8').endsWith(',"mac":"'));
  assert.equal(
    bytes.toString('latin1', end - 64, end + 3),
    `${keyedBlake3(key, covered).toString('hex')}"}\n`,
  );
}

test('all key slots open to the same keys', () => {
  const [first, ...others] = unlock();
  assert.equal(others.length, 2);
  for (const other of others) assert.deepEqual(other, first);
});

// Section 13.
test('a job says what it has made', () => {
  const job = blake3(Buffer.from(`coffer 1 job ${FACTS.job.key}`)).toString('hex', 0, 10);
  assert.deepEqual(names('jobs'), [`jobs/${job}`]);
  const made = record('job', `jobs/${job}`) as {
    job: string;
    session: string;
    points: { id: string; item: string }[];
  };
  assert.equal(made.job, job);
  assert.equal(made.session.slice(0, 24), `${job}0002`);
  assert.deepEqual(made.points, [{ id: FACTS.job.point, item: 'golden nothing' }]);
});

test('points say which they are copies of', () => {
  const [keys] = unlock();
  const found = points(keys!);
  for (const { id, copyOf } of FACTS.points) assert.equal(found.get(id)?.copyOf, copyOf);
  assert.equal([...found.values()].filter(({ copyOf }) => copyOf !== undefined).length, 1);
});

test('index objects and footers of packs say the same', () => {
  assert.deepEqual(new Set(chunksOfIndex().keys()), new Set(chunksOfPacks().keys()));
});

test('every point reads as recorded', () => {
  const [keys] = unlock();
  const reader = new Reader(keys!);
  const found = [...points(keys!)].map(([id, { item, kind, takenAt, roots, manifest }]) => {
    const named = roots.map(({ name, root, sizeBytes }) => [name, root, sizeBytes]);
    const facts = JSON.stringify([item, kind, takenAt, named]);
    const box = Buffer.from(manifest, 'base64');
    const opened = openSealedBox(keys!, box, `coffer 1 manifest ${facts}`).toString();
    assert.equal(opened, JSON.stringify({ golden: item }));
    const contents: Record<string, string> = {};
    for (const { name, root, sizeBytes } of roots) {
      const rootId = Buffer.from(root, 'hex');
      if (kind !== 'files') contents[name] = hashDisk(reader, rootId, sizeBytes);
      else if (name === 'files') hashFiles(reader, rootId, contents);
    }
    return { id, item, kind, contents };
  });
  for (const { id, item, kind, contents } of FACTS.points) {
    const expected = item === 'golden files' ? { 'linked too': contents['linked']! } : {};
    const point = found.find((each) => each.id === id);
    assert.deepEqual(point, { id, item, kind, contents: { ...contents, ...expected } });
  }
  assert.equal(found.length, FACTS.points.length);
});

// Section 15.
test('what stands beside points says so of the points that it names', () => {
  const key = Buffer.from(FACTS.receiptKey, 'hex');
  const holders = new Map<string, string[]>();
  for (const name of names('holds')) {
    const hold = record('hold', name) as Record<string, unknown>;
    assert.equal(name, `holds/${String(hold['point'])}-${String(hold['holder'])}`);
    for (const text of ['reason', 'by']) assert.equal(typeof hold[text], 'string');
    assert.equal(typeof hold['heldAt'], 'number');
    const of = String(hold['point']);
    holders.set(of, [...(holders.get(of) ?? []), String(hold['holder'])]);
  }
  const deleted = names('deleted').map((name) => {
    const { point, at, until, by } = record('deleted', name) as Record<string, unknown>;
    assert.equal(name, `deleted/${String(point)}`);
    assert.ok(Number(at) < Number(until) && typeof by === 'string');
    return point;
  });
  const receipted = names('receipts').map((name) => {
    const { point, arrivedAt, agent, job } = record('receipt', name) as Record<string, unknown>;
    assert.deepEqual([name, agent, job], [`receipts/${String(point)}`, 'agent-1', 'job-1']);
    assert.equal(typeof arrivedAt, 'number');
    checkMac(object(name), 'coffer 1 receipt mac', key);
    return point;
  });
  for (const { id, ...point } of FACTS.points) {
    assert.deepEqual(holders.get(id) ?? [], point.holders);
    assert.equal(deleted.includes(id), point.isDeleted);
    assert.equal(receipted.includes(id), point.hasReceipt);
  }
});

test('entries of each type hold what they were written with', () => {
  const [keys] = unlock();
  const [, files] = [...points(keys!)].find(([, { item }]) => item === 'golden files')!;
  const entries = entriesOf(new Reader(keys!), Buffer.from(files.roots[0]!.root, 'hex'));
  const common = [0o644, 1000, 100_000, 1_700_000_000_123_456_789n, -1n];
  const found = new Map(entries.map(({ name, type, facts }) => [name, [type, ...facts]]));
  assert.deepEqual(found.get('link'), [2, ...common, '../elsewhere']);
  assert.deepEqual(found.get('pipe'), [3, ...common]);
  assert.deepEqual(found.get('socket'), [4, ...common]);
  assert.deepEqual(found.get('null'), [5, ...common, 0x103n]);
  assert.deepEqual(found.get('disk'), [6, ...common, 0x800n]);
  assert.deepEqual(found.get('folder'), [1, 0o2750, ...common.slice(1)]);
  assert.deepEqual(found.get('linked'), [0, ...common, 2049n, 'bigint']);
  const attributes = ['user.empty', '', 'user.key', 'value'];
  assert.deepEqual(found.get('attributes'), [0, ...common, ...attributes]);
  assert.ok(found.has('not \xff\xfe UTF-8'));
  const many = entries.find(({ name }) => name === 'many')!;
  assert.equal(entriesOf(new Reader(keys!), many.folder!).length, 2500);
});
