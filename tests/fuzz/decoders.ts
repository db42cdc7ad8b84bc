/** Everything that reads bytes or text which others may have written, with valid input for each. */
import { DIGEST_SIZE_BYTES, digest, type FileEntry, type Random, seededRandom } from '@coffer/base';
import { parseManifest } from '@coffer/flows/manifest.ts';
import { contentPieces, isRecoveryKey, resolvePoint } from '@coffer/repository';
import type { ChunkReader } from '@coffer/repository/chunk/chunk-reader.ts';
import { kindOf } from '@coffer/repository/chunk/chunk-id.ts';
import { PADDINGS } from '@coffer/repository/chunk/padding.ts';
import { openChunk, sealChunk, sealedSizeMax } from '@coffer/repository/chunk/seal.ts';
import { readConfig } from '@coffer/repository/config-objects.ts';
import { checkGcRecord, type GcStep } from '@coffer/repository/gc/gc-record.ts';
import {
  decodeIndexObject,
  encodeIndexObject,
  indexGenerationOf,
} from '@coffer/repository/index/index-codec.ts';
import { readKeySlots } from '@coffer/repository/keys.ts';
import { PackBuilder } from '@coffer/repository/pack/pack-builder.ts';
import { decodePack, decodePackEnd } from '@coffer/repository/pack/pack-codec.ts';
import {
  decodePoint,
  parsePointObjectName,
  type RecoveryPoint,
} from '@coffer/repository/recovery-point.ts';
import { generateRecoveryKey, recoverySecret } from '@coffer/repository/recovery-key.ts';
import { checkDeletion, encodeDeletion } from '@coffer/repository/deleted-points.ts';
import { checkHold } from '@coffer/repository/hold.ts';
import { checkReceipt, encodeReceipt } from '@coffer/repository/receipt.ts';
import { openBox, sealBox } from '@coffer/repository/sealed-box.ts';
import { readBegin, readEnd } from '@coffer/repository/session/session-record.ts';
import { decodeFolder, encodePage, encodePages } from '@coffer/repository/tree/folder-codec.ts';
import { decodeNodeHead, encodeNodeHead } from '@coffer/repository/tree/node-codec.ts';
import { parseLocation } from '@coffer/storage/location.ts';
import { openMemoryStore } from '@coffer/storage/memory.ts';
import type { IntactRepository } from '../damage/intact.ts';
import { anyBytes, mutate, mutateRecord } from './mutate.ts';

export interface Decoder {
  readonly name: string;
  readonly valid: readonly Buffer[];
  /** Makes input from a valid one. */
  readonly change: (valid: Buffer, random: Random) => Buffer;
  /** May fail with a `CofferError`, and with nothing else. */
  readonly decode: (bytes: Buffer) => unknown;
}

export function decodersFor(intact: IntactRepository): Decoder[] {
  return [...recordDecoders(intact), ...binaryDecoders(intact), ...textDecoders()];
}

/** Once with any bytes changed, and once with the digest made right again. */
function recordDecoders({ objects }: IntactRepository): Decoder[] {
  const of = (prefix: RegExp): Buffer[] =>
    Array.from(objects)
      .filter(([name, bytes]) => prefix.test(name) && bytes.length > 0)
      .map(([, bytes]) => bytes);
  const stored = async (name: string, bytes: Buffer, read: (store: Store) => Promise<unknown>) => {
    const store = openMemoryStore();
    await store.put(name, bytes);
    return await read(store);
  };
  const id = 'ab'.repeat(16);
  const gc = (step: GcStep) => ({
    name: `gc ${step}`,
    valid: of(new RegExp(`^gc/.*-${step}$`)),
    decode: (bytes: Buffer) => checkGcRecord({ name: `gc/1-${step}`, generation: 1, step }, bytes),
  });
  const decoders = [
    {
      name: 'config',
      valid: of(/^config$/),
      decode: (b: Buffer) => stored('config', b, readConfig),
    },
    {
      name: 'key slot',
      valid: of(/^keys\//),
      decode: (b: Buffer) => stored(`keys/${'ab'.repeat(8)}`, b, readSlots),
    },
    {
      name: 'point',
      valid: of(/^points\//),
      decode: (bytes: Buffer) =>
        decodePoint(digest(bytes).toString('hex', 0, 16), bytes, Buffer.alloc(32)),
    },
    {
      name: 'session begin',
      valid: of(/-begin$/),
      decode: (b: Buffer) => stored(`sessions/${id}-begin`, b, (store) => readBegin(store, id)),
    },
    {
      name: 'session end',
      valid: of(/-end$/),
      decode: (b: Buffer) => stored(`sessions/${id}-end`, b, (store) => readEnd(store, id)),
    },
    { name: 'hold', valid: of(/^holds\//), decode: (b: Buffer) => checkHold(b, `holds/${id}-a`) },
    {
      name: 'deletion',
      valid: [encodeDeletion({ point: id, at: 1, until: 2, by: 'somebody' })],
      decode: (b: Buffer) => checkDeletion(b, `deleted/${id}`),
    },
    {
      name: 'receipt',
      valid: [encodeReceipt({ point: id, arrivedAt: 1, agent: 'a', job: 'j' }, Buffer.alloc(32))],
      decode: (b: Buffer) => checkReceipt(b, `receipts/${id}`, Buffer.alloc(32)),
    },
    gc('condemned'),
    gc('waiting'),
    gc('sweep'),
    gc('done'),
  ];
  return decoders.flatMap((decoder) => [
    { ...decoder, change: mutate },
    { ...decoder, name: `${decoder.name}, digest right`, change: mutateRecord },
  ]);
}

type Store = ReturnType<typeof openMemoryStore>;
const readSlots = async (store: Store): Promise<unknown> =>
  await readKeySlots({ store, config: { publicKey: '' } });

function binaryDecoders({ objects, keys }: IntactRepository): Decoder[] {
  const random = seededRandom(7);
  const ids = Array.from({ length: 20 }, () => random.bytes(DIGEST_SIZE_BYTES));
  const packs = Array.from(objects)
    .filter(([name]) => name.startsWith('packs/'))
    .map(([, bytes]) => bytes)
    .filter(({ length }) => length < 100_000);
  const indexObjects = Array.from(objects)
    .filter(([name]) => name.startsWith('index/'))
    .map(([, bytes]) => bytes);
  const page = encodePage([fileEntry(ids), folderEntry(ids[0]!), deviceEntry(), linkEntry()]);
  const pages = encodePages(
    ['a', 'b'].map((name, index) => ({ id: ids[index]!, firstName: Buffer.from(name) })),
  );
  const pack = smallPack(keys.publicKey, random);
  const key = random.bytes(32);
  const plain = Buffer.alloc(3000, 'compressible ');
  const room = Buffer.alloc(sealedSizeMax(plain.length));
  const sealedForms = PADDINGS.map((padding) => {
    const chunk = { id: ids[0]!, kind: 'data', ordinal: 3, plain } as const;
    const { seal, length } = sealChunk(key, chunk, room, { padding });
    return { padding, seal, bytes: Buffer.from(room.subarray(0, length)) };
  });
  const associated = Buffer.from('a');
  const box = sealBox({ publicKey: keys.publicKey, content: key, associated, random });
  const folder = (body: Buffer) => decodeFolder({ children: ids, body }, ids[0]!);
  const content = Buffer.concat([Buffer.from([3]), Buffer.alloc(20, 9)]);
  return [
    { name: 'pack', valid: [pack, ...packs], change: mutate, decode: (b) => decodePack(b, 'p') },
    {
      name: 'pack end',
      valid: [pack, ...packs],
      change: mutate,
      decode: async (bytes) => {
        const end = async (length: number) => bytes.subarray(bytes.length - length);
        return await decodePackEnd(end, bytes.length, 'p', 100);
      },
    },
    {
      name: 'index object',
      valid: indexObjects,
      change: mutate,
      decode: (bytes) => {
        const name = `index/00000001-${digest(bytes).toString('hex')}`;
        const decoded = decodeIndexObject({ name, bytes });
        encodeIndexObject(decoded, 1);
      },
    },
    {
      name: 'node',
      valid: [encodeNodeHead(ids)],
      change: mutate,
      decode: (b) => decodeNodeHead(b),
    },
    { name: 'folder', valid: [page.body, pages.body], change: mutate, decode: folder },
    {
      name: 'content tree',
      valid: [content],
      change: mutate,
      decode: async (body) => {
        const reader = {
          readNode: async () => ({ children: ids, body }),
        } as unknown as ChunkReader;
        let depth = 0;
        // A node cannot hold itself: ids are digests. Here it can, so there is an end to it.
        for await (const _ of contentPieces(endingAt(reader, 5), { form: 'tree', root: ids[0]! })) {
          if (++depth > 1000) break;
        }
      },
    },
    ...sealedForms.map(({ padding, seal, bytes: sealed }) => ({
      name: `sealed chunk, padding ${padding}`,
      valid: [sealed],
      change: mutate,
      decode: (bytes: Buffer) => {
        const opened = openChunk(key, seal, bytes);
        if (!opened.equals(plain)) throw new Error('a changed chunk opens');
      },
    })),
    {
      name: 'sealed box',
      valid: [box],
      change: mutate,
      decode: (bytes) => {
        if (!openBox(keys.privateKey, bytes, associated).equals(key)) throw new Error('it opens');
      },
    },
  ];
}

/** Nodes below a depth are leaves that do not exist. */
function endingAt(reader: ChunkReader, readsMax: number): ChunkReader {
  let reads = 0;
  return {
    readNode: async (id: Buffer) => {
      if (++reads <= readsMax) return await reader.readNode(id);
      return { children: [], body: Buffer.from([3]) };
    },
  } as unknown as ChunkReader;
}

function textDecoders(): Decoder[] {
  const points = [1, 2, 3].map(
    (count) =>
      ({ id: `${count}`.repeat(32), item: `item@${count}`, takenAt: count }) as RecoveryPoint,
  );
  const text = (valid: readonly string[], name: string, decode: (text: string) => unknown) => ({
    name,
    valid: valid.map((each) => Buffer.from(each)),
    change: mutate,
    decode: (bytes: Buffer) => decode(bytes.toString('utf8')),
  });
  const recoveryKey = generateRecoveryKey(seededRandom(3));
  const hex = 'ab'.repeat(32);
  return [
    text(['s3://bucket/some/prefix', 'azure://account/container/p', '/path'], 'location', (t) =>
      parseLocation(t),
    ),
    text(['item@1@latest', 'item@1@2026-11-20T10:00:00.5Z', '1111', 'x@2026-11-20'], 'name', (t) =>
      resolvePoint(points, t, 0),
    ),
    text([recoveryKey], 'recovery key', (t) => (isRecoveryKey(t) ? recoverySecret(t) : undefined)),
    text([recoveryKey], 'recovery secret', recoverySecret),
    text([`index/00000001-${hex}`], 'index name', indexGenerationOf),
    text([`points/${hex.slice(32)}/00000001-${hex.slice(32)}`], 'point name', parsePointObjectName),
    text(['{"host":"h","sourcePath":"/a","findings":[]}'], 'manifest', (t) => {
      let value: unknown;
      try {
        value = JSON.parse(t);
      } catch {
        // It was sealed by us, so it is JSON.
        return;
      }
      parseManifest(value);
    }),
  ];
}

function smallPack(publicKey: Buffer, random: Random): Buffer {
  const builder = new PackBuilder({ publicKey, random });
  for (let count = 0; count < 10; count++) {
    const id = random.bytes(32);
    builder.add(id, kindOf(id), random.bytes(50 * count));
  }
  const { bytes } = builder.finish();
  return Buffer.from(bytes);
}

const METADATA = {
  mode: 0o644,
  userId: 1000,
  groupId: 1000,
  modifiedNs: 1n,
  changedNs: 2n,
  inode: 3n,
  sizeBytes: 0,
  hardLink: undefined,
  linkTarget: undefined,
  deviceNumber: undefined,
  extendedAttributes: [],
  content: undefined,
  folder: undefined,
} as const;

function fileEntry(ids: readonly Buffer[]): FileEntry {
  const pieces = ids.slice(0, 3).map((id) => ({ id, length: 1000 }));
  return {
    ...METADATA,
    name: Buffer.from('a'),
    type: 'file',
    sizeBytes: 3000,
    hardLink: { device: 1n, inode: 3n },
    extendedAttributes: [{ name: Buffer.from('user.a'), value: Buffer.from('b') }],
    content: { form: 'pieces', pieces },
  };
}

function folderEntry(folder: Buffer): FileEntry {
  return { ...METADATA, name: Buffer.from('b'), type: 'directory', folder };
}

function deviceEntry(): FileEntry {
  return { ...METADATA, name: Buffer.from('c'), type: 'block-device', deviceNumber: 5n };
}

function linkEntry(): FileEntry {
  return { ...METADATA, name: Buffer.from('d'), type: 'symlink', linkTarget: Buffer.from('../a') };
}

/** One of the inputs for a decoder. */
export function inputFor({ valid, change }: Decoder, random: Random): Buffer {
  const any = valid[Math.floor(random.fraction() * valid.length)]!;
  return random.fraction() < 0.1 ? anyBytes(random) : change(any, random);
}
