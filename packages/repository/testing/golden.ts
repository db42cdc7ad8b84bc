/**
 * Writes the golden repository of a format version: a small one that holds a bit of everything, the
 * same bytes each time. `node packages/repository/testing/golden.ts FOLDER` writes it to a folder.
 * What a version wrote stays readable, so a folder that exists is never written again.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import {
  assert,
  Digest,
  type FileContent,
  type FileEntry,
  type FileMetadata,
  type Random,
  required,
  seededRandom,
} from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { openMemoryStore } from '@coffer/storage/memory.ts';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { type ChunkId, ZERO_ID } from '../chunk/chunk-id.ts';
import { inlineChunkPool } from '../chunk/chunk-work.ts';
import { SlabPool } from '../chunk/slab.ts';
import { GEOMETRY } from '../config.ts';
import { GC_PLAN_DEFAULTS } from '../gc/plan.ts';
import { collectGarbage } from '../gc/run.ts';
import { ChunkIndex } from '../index/chunk-index.ts';
import { generateRecoveryKey } from '../recovery-key.ts';
import {
  type EncodedPoint,
  encodePoint,
  type PointKind,
  type PointRoot,
} from '../recovery-point.ts';
import { initRepository } from '../init.ts';
import { addKeySlot, newSealedSlot } from '../keys.ts';
import { Repository, type UnlockedRepository } from '../repository.ts';
import { generateKeyPair } from '../sealed-box.ts';
import type { Session } from '../session/session.ts';
import { beginName, encodeBegin, encodeEnd, endName } from '../session/session-record.ts';
import { ContentBuilder } from '../tree/content-tree.ts';
import { DiskTreeBuilder, type WriteNode } from '../tree/disk-tree.ts';
import { writeFolder } from '../tree/folder-tree.ts';
import { getWhole, namesOf, stillClock, testProcesses } from './test-repository.ts';

const CHUNK_BYTES = GEOMETRY.diskChunkSizeBytes;
const PACK_BYTES = 64 * 1024;
/** More than one leaf node. */
const DISK_CHUNKS = 520;
const DISK_TAIL_BYTES = 1000;
const RECEIPT_KEY = Buffer.alloc(32, 'receipt key');
const JOB_KEY = 'golden nothing/backup/2026-11-20T02:00';
const COPY_OF = '0123456789abcdef'.repeat(2);

/** What a reader has to find in the golden repository. */
export interface GoldenFacts {
  readonly passphrase: string;
  readonly recoveryKey: string;
  /** That a slot is sealed to, in hexadecimal. */
  readonly sealedPrivateKey: string;
  /** Of the service that makes receipts, in hexadecimal. */
  readonly receiptKey: string;
  /** A job, and the id of the point that it has made. */
  readonly job: { readonly key: string; readonly point: string };
  readonly points: readonly GoldenPoint[];
}

export interface GoldenPoint {
  readonly id: string;
  readonly item: string;
  readonly kind: PointKind;
  /** Whose holds it has. */
  readonly holders: readonly string[];
  /** Deleted for a while. */
  readonly isDeleted: boolean;
  readonly hasReceipt: boolean;
  /** What it says that it was copied from. */
  readonly copyOf?: string;
  /** BLAKE3 of each disk by its name, or of each file's content by its path. */
  readonly contents: Readonly<Record<string, string>>;
}

export interface Golden {
  readonly facts: GoldenFacts;
  readonly objects: ReadonlyMap<string, Buffer>;
}

export async function makeGolden(): Promise<Golden> {
  const folder = mkdtempSync(join(tmpdir(), 'coffer-golden-'));
  const index = ChunkIndex.open(folder);
  try {
    return await new GoldenWriter(index).run();
  } finally {
    await index.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

class GoldenWriter {
  readonly #random: Random = seededRandom(20_261_120);
  readonly #clock = stillClock();
  readonly #store: ObjectStore = openMemoryStore({ clock: this.#clock });
  readonly #index: ChunkIndex;
  readonly #points: GoldenPoint[] = [];
  #madeByJob: string | undefined;

  constructor(index: ChunkIndex) {
    this.#index = index;
  }

  async run(): Promise<Golden> {
    const passphrase = 'golden passphrase of version 1';
    const recoveryKey = generateRecoveryKey(this.#random);
    const [random, clock, store] = [this.#random, this.#clock, this.#store];
    await initRepository({ store, clock, random, passphrase, recoveryKey });
    const repository = await this.#open(passphrase);
    const service = generateKeyPair(random);
    const slot = { keys: repository.allKeys, label: 'service', createdAt: clock.now(), random };
    await addKeySlot(store, newSealedSlot({ ...slot, sealedTo: service.publicKey }));
    await this.#writePoints(repository);
    const points = this.#points.sort((a, b) => (a.id < b.id ? -1 : 1));
    const receiptKey = RECEIPT_KEY.toString('hex');
    const sealedPrivateKey = service.privateKey.toString('hex');
    const job = { key: JOB_KEY, point: required(this.#madeByJob, 'a job has made a point') };
    const facts = { passphrase, recoveryKey, sealedPrivateKey, receiptKey, job, points };
    return { facts, objects: await objectsOf(store) };
  }

  async #open(passphrase: string): Promise<UnlockedRepository> {
    const random = this.#random;
    const repository = await Repository.open(testRun({ clock: this.#clock, random }), {
      store: this.#store,
      index: this.#index,
      processes: testProcesses,
      chunkPool: inlineChunkPool(random),
      packSizeBytes: PACK_BYTES,
    });
    return await repository.unlock(passphrase);
  }

  async #writePoints(repository: UnlockedRepository): Promise<void> {
    const first = await this.#commit(repository, (session) => writeGoldenDisk(session, 1));
    const second = await this.#commit(repository, (session) => writeGoldenDisk(session, 2));
    const files = await this.#commit(repository, writeGoldenFiles);
    const points = await repository.points();
    await this.#writeRecords(repository, files.id, second.id);
    // What only the first disk holds goes; what is live in the same packs moves to other packs.
    await repository.removePoint(points.find(({ id }) => id === first.id)!);
    await collectGarbage({ repository, plan: { ...GC_PLAN_DEFAULTS, wasteMax: 0 } });
    const empty = await this.#commitJob(repository, writeEmpty);
    this.#tell(await this.#commit(repository, writeGoldenMachine), { copyOf: COPY_OF });
    this.#tell(second, { isDeleted: true, hasReceipt: true });
    this.#tell(files, { holders: ['instant-0a1b', 'person'], hasReceipt: true });
    this.#tell(empty, {});
    this.#tell(await this.#commitUnlisted(repository), {});
  }

  async #writeRecords(repository: UnlockedRepository, held: string, hidden: string): Promise<void> {
    const now = this.#clock.now();
    const until = now + 14 * 24 * 3_600_000;
    const by = 'golden@host';
    const person = { holder: 'person', reason: 'audit', by };
    await repository.hold({ id: held }, person);
    await repository.hold({ id: held }, { holder: 'instant-0a1b', reason: 'runs', until, by });
    const receipt = { arrivedAt: now, agent: 'agent-1', job: 'job-1' };
    await repository.putReceipt({ point: held, ...receipt }, RECEIPT_KEY);
    await repository.putReceipt({ point: hidden, ...receipt, occurrence: now }, RECEIPT_KEY);
    await repository.softDelete({ id: hidden }, { until, by });
  }

  async #commit(
    repository: UnlockedRepository,
    write: (session: Session) => Promise<Written>,
  ): Promise<Made> {
    this.#clock.advance(60_000);
    return await this.#commitIn(repository, await repository.beginSession(), write);
  }

  async #commitIn(
    repository: UnlockedRepository,
    session: Session,
    write: (session: Session) => Promise<Written>,
  ): Promise<Made> {
    const written = await write(session);
    await session.writer.flush();
    const encoded = this.#encode(repository, written);
    await session.commit([encoded]);
    return { ...written, ...encoded };
  }

  /** The second attempt of a job makes its point. */
  async #commitJob(
    repository: UnlockedRepository,
    write: (session: Session) => Promise<Written>,
  ): Promise<Made> {
    this.#clock.advance(60_000);
    const begun = await repository.beginAttempt({ key: JOB_KEY, number: 2 });
    assert(begun.outcome === 'begun', 'nobody has tried it before');
    const made = await this.#commitIn(repository, begun.session, write);
    this.#madeByJob = made.id;
    return made;
  }

  /** A session that was committed and killed before it listed its point. */
  async #commitUnlisted(repository: UnlockedRepository): Promise<Made> {
    const written = await this.#commit(repository, (session) => writeGoldenDisk(session, 3));
    const points = await repository.points();
    const { generation } = points.find(({ id }) => id === written.id)!;
    await repository.removePoint(points.find(({ id }) => id === written.id)!);
    const record = written.bytes.toString('base64');
    const end = { id: written.id, item: written.item, record };
    const session = this.#random.bytes(16).toString('hex');
    const { host, own } = testProcesses;
    const begin = { session, startedAt: this.#clock.now(), host, process: own };
    await this.#store.put(beginName(session), encodeBegin(begin));
    await this.#store.put(
      endName(session),
      encodeEnd({ session, outcome: 'committed', generation, points: [end] }),
    );
    return written;
  }

  #encode(repository: UnlockedRepository, { item, kind, roots }: Written): EncodedPoint {
    const header = {
      item,
      kind,
      takenAt: this.#clock.now(),
      roots: [...roots],
      tags: { purpose: 'golden' },
      ...(kind === 'vm' && { copyOf: COPY_OF }),
    };
    return encodePoint(header, { golden: item }, { ...repository.keys, random: this.#random });
  }

  #tell({ id, item, kind, contents }: Made, beside: Partial<Beside>): void {
    const records = { holders: [], isDeleted: false, hasReceipt: false, ...beside };
    this.#points.push({ id, item, kind, ...records, contents });
  }
}

type Beside = Pick<GoldenPoint, 'holders' | 'isDeleted' | 'hasReceipt' | 'copyOf'>;

interface Written {
  readonly item: string;
  readonly kind: PointKind;
  readonly roots: readonly PointRoot[];
  readonly contents: Readonly<Record<string, string>>;
}

type Made = Written & EncodedPoint;

async function writeGoldenDisk(session: Session, state: number): Promise<Written> {
  const { root, digest } = await writeDisk(session, 'disk', DISK_CHUNKS, (chunkIndex) =>
    goldenDiskChunk(chunkIndex, state),
  );
  return { item: 'golden disk', kind: 'disk', roots: [root], contents: { disk: digest } };
}

/** Two disks, and a file of the host that the machine needs. */
async function writeGoldenMachine(session: Session): Promise<Written> {
  const disks = {
    vda: await writeDisk(session, 'vda', DISK_CHUNKS, (index) => goldenDiskChunk(index, 4)),
    vdb: await writeDisk(session, 'vdb', 2, () => Buffer.alloc(CHUNK_BYTES)),
    'file-nvram': await writeDisk(session, 'file-nvram', 1, () => seededRandom(13).bytes(5000)),
  };
  const digests = Object.entries(disks).map(([name, { digest }]) => [name, digest]);
  return {
    item: 'golden machine',
    kind: 'vm',
    roots: Object.values(disks).map(({ root }) => root),
    contents: Object.fromEntries(digests) as Record<string, string>,
  };
}

/** Only the last chunk may be smaller than the others. */
async function writeDisk(
  session: Session,
  name: string,
  chunkCount: number,
  chunk: (chunkIndex: number) => Buffer,
): Promise<{ root: PointRoot; digest: string }> {
  const sizeBytes = (chunkCount - 1) * CHUNK_BYTES + chunk(chunkCount - 1).length;
  const tree = new DiskTreeBuilder(sizeBytes, nodeWriter(session));
  const whole = new Digest();
  for (let chunkIndex = 0; chunkIndex < chunkCount; chunkIndex++) {
    const bytes = chunk(chunkIndex);
    whole.update(bytes);
    await tree.add(await writeChunk(session, bytes));
  }
  const root = { name, root: (await tree.finish()).toString('hex'), sizeBytes };
  return { root, digest: whole.finish().toString('hex') };
}

/** Few chunks hold data; each state changes one of them. */
function goldenDiskChunk(chunkIndex: number, state: number): Buffer {
  if (chunkIndex === DISK_CHUNKS - 1) return seededRandom(7).bytes(DISK_TAIL_BYTES);
  if (chunkIndex >= 6 && chunkIndex !== 515) return Buffer.alloc(CHUNK_BYTES);
  const content = chunkIndex === 2 ? 100 + state : chunkIndex;
  // Compresses well, so that the repository stays small.
  return Buffer.alloc(CHUNK_BYTES, seededRandom(content + 1).bytes(4096));
}

async function writeEmpty(session: Session): Promise<Written> {
  const root = await writeFolder([], nodeWriter(session));
  return { item: 'golden nothing', kind: 'files', roots: [filesRoot(root, 0)], contents: {} };
}

async function writeGoldenFiles(session: Session): Promise<Written> {
  return await new GoldenFiles(session).write();
}

function filesRoot(root: ChunkId, sizeBytes: number): PointRoot {
  return { name: 'files', root: root.toString('hex'), sizeBytes };
}

/** A folder with an entry of each type and each form of content. */
class GoldenFiles {
  readonly #session: Session;
  readonly #writeNode: WriteNode;
  readonly #contents: Record<string, string> = {};
  #sizeBytes = 0;
  #inode = 100n;

  constructor(session: Session) {
    this.#session = session;
    this.#writeNode = nodeWriter(session);
  }

  async write(): Promise<Written> {
    const root = await writeFolder(byName(await this.#entries()), this.#writeNode);
    const roots = [filesRoot(root, this.#sizeBytes)];
    return { item: 'golden files', kind: 'files', roots, contents: this.#contents };
  }

  async #entries(): Promise<FileEntry[]> {
    const text = Buffer.from('text of a small file\n'.repeat(40));
    const short = seededRandom(11).bytes(40);
    const hole = { id: ZERO_ID, length: 1024 * 1024 };
    const linked = await this.#file('linked', [short]);
    const hardLink = { device: 2049n, inode: linked.inode };
    return [
      await this.#file('empty', []),
      await this.#file('small', [text]),
      await this.#file('sparse', [short, hole, text, hole]),
      await this.#file('large', Array<Buffer>(2100).fill(seededRandom(12).bytes(4096))),
      await this.#file(Buffer.from('not \xff\xfe UTF-8', 'latin1'), [text]),
      { ...linked, hardLink },
      { ...linked, name: Buffer.from('linked too'), hardLink },
      {
        ...(await this.#file('attributes', [text])),
        extendedAttributes: [
          { name: Buffer.from('user.empty'), value: Buffer.alloc(0) },
          { name: Buffer.from('user.key'), value: Buffer.from('value') },
        ],
      },
      { ...this.#metadata('link', 'symlink'), linkTarget: Buffer.from('../elsewhere') },
      this.#metadata('pipe', 'fifo'),
      this.#metadata('socket', 'socket'),
      { ...this.#metadata('null', 'character-device'), deviceNumber: 0x103n },
      { ...this.#metadata('disk', 'block-device'), deviceNumber: 0x0800n },
      await this.#folder('folder', [await this.#file('inside', [short])]),
      await this.#folder('many', await this.#many()),
    ];
  }

  /** Enough names for several pages. */
  async #many(): Promise<FileEntry[]> {
    const entries: FileEntry[] = [];
    for (let index = 0; index < 2500; index++) entries.push(await this.#file(`file-${index}`, []));
    return entries;
  }

  async #folder(name: string, entries: FileEntry[]): Promise<FileEntry> {
    const folder = await writeFolder(byName(entries), this.#writeNode);
    return { ...this.#metadata(name, 'directory'), mode: 0o2750, folder };
  }

  async #file(
    name: string | Buffer,
    pieces: readonly (Buffer | { readonly id: ChunkId; readonly length: number })[],
  ): Promise<FileEntry> {
    const content = new ContentBuilder(this.#writeNode);
    const whole = new Digest();
    let sizeBytes = 0;
    for (const piece of pieces) {
      const isData = Buffer.isBuffer(piece);
      const id = isData ? await writeChunk(this.#session, piece) : piece.id;
      await content.add({ id, length: piece.length });
      whole.update(isData ? piece : Buffer.alloc(piece.length));
      sizeBytes += piece.length;
    }
    const key = Buffer.from(name).toString('latin1');
    if (sizeBytes > 0) this.#contents[key] = whole.finish().toString('hex');
    this.#sizeBytes += sizeBytes;
    const stored: FileContent = await content.finish();
    return { ...this.#metadata(name, 'file'), sizeBytes, content: stored };
  }

  #metadata(name: string | Buffer, type: FileMetadata['type']): FileEntry {
    return {
      name: Buffer.from(name),
      type,
      mode: 0o644,
      userId: 1000,
      groupId: 100_000,
      modifiedNs: 1_700_000_000_123_456_789n,
      changedNs: -1n,
      inode: this.#inode++,
      sizeBytes: 0,
      hardLink: undefined,
      linkTarget: undefined,
      deviceNumber: undefined,
      extendedAttributes: [],
      content: undefined,
      folder: undefined,
    };
  }
}

function byName(entries: FileEntry[]): FileEntry[] {
  return entries.sort((a, b) => Buffer.compare(a.name, b.name));
}

function nodeWriter({ writer }: Session): WriteNode {
  return (children, body) => writer.writeNode(children, body);
}

const slabs = new SlabPool(1);

async function writeChunk({ writer }: Session, bytes: Buffer): Promise<ChunkId> {
  return await slabs.use(async (slab) => {
    bytes.copy(slab.bytes);
    const [id] = await writer.write(slab, [{ offset: 0, length: bytes.length }]);
    return Buffer.from(id!);
  });
}

async function objectsOf(store: ObjectStore): Promise<Map<string, Buffer>> {
  const objects = new Map<string, Buffer>();
  for (const name of await namesOf(store, '')) objects.set(name, await getWhole(store, name));
  return objects;
}

/** Writes the objects as files of their names, and the facts beside them. */
export function saveGolden({ facts, objects }: Golden, folder: string): void {
  for (const [name, bytes] of objects) {
    const path = join(folder, 'objects', name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
  }
  writeFileSync(join(folder, 'facts.json'), `${JSON.stringify(facts, undefined, 2)}\n`);
}

if (import.meta.main) {
  const [folder] = process.argv.slice(2);
  if (folder === undefined || existsSync(folder)) {
    console.error('usage: golden.ts FOLDER, which must not be there');
    process.exitCode = 2;
  } else {
    saveGolden(await makeGolden(), folder);
  }
}
