/** Fills a store with as many points and packs as a service has, without the work of making them. */
import { digest, type Random } from '@coffer/base';
import type { ObjectStore } from '@coffer/storage/object-store.ts';
import { kindOf } from '../chunk/chunk-id.ts';
import { encodeIndexObject } from '../index/index-codec.ts';
import type { WriterKeys } from '../keys.ts';
import {
  encodePackEnd,
  KEY_BOX_SIZE_BYTES,
  PACK_HEAD_SIZE_BYTES,
  PACK_MAGIC,
  type PackDescription,
  type PackEntry,
  packObjectName,
} from '../pack/pack-codec.ts';
import { encodeRecord } from '../record.ts';
import { macOf } from '../record-mac.ts';
import { POINT_ID_SIZE_BYTES, pointObjectName } from '../recovery-point.ts';

/** Objects are put as they are made: the store decides how many at once. */
export type PutObject = (name: string, bytes: Buffer) => Promise<void> | void;

/** What an agent says of a point beside what is needed to read it: about so much is sealed. */
const MANIFEST_SIZE_BYTES = 500;

/** Points of many items in turn, whose trees and manifests are of no interest to who lists them. */
export async function putPoints(
  { hashKey, random }: Pick<WriterKeys, 'hashKey'> & { readonly random: Random },
  { count, itemCount }: { readonly count: number; readonly itemCount: number },
  put: PutObject,
): Promise<void> {
  const root = random.bytes(32).toString('hex');
  const manifest = random.bytes(MANIFEST_SIZE_BYTES).toString('base64');
  const mac = { context: 'coffer 1 point mac', material: hashKey } as const;
  for (let number = 0; number < count; number++) {
    const item = `item-${number % itemCount}`;
    const roots = [{ name: 'disk', root, sizeBytes: 2 ** 30 }];
    const said = { item, kind: 'disk', takenAt: 1_700_000_000_000 + number * 1000, roots };
    const record = { ...said, tags: { plan: 'daily' }, manifest };
    const bytes = encodeRecord('point', { ...record, mac: macOf('point', record, mac) });
    const id = digest(bytes).toString('hex', 0, POINT_ID_SIZE_BYTES);
    await put(pointObjectName(item, 0, id), bytes);
  }
}

const PACKS_PER_INDEX_OBJECT = 4096;
const RECORD_SIZE_BYTES = 60;

/** Packs of one small chunk each, which nobody can open, and the index objects that name them. */
export async function putPacks(random: Random, count: number, put: PutObject): Promise<void> {
  let described: PackDescription[] = [];
  for (let number = 1; number <= count; number++) {
    const { bytes, ...description } = packOf(random);
    await put(packObjectName(description.pack), bytes);
    described.push(description);
    if (described.length < PACKS_PER_INDEX_OBJECT && number < count) continue;
    const { name, bytes: object } = encodeIndexObject(described, 0);
    await put(name, object);
    described = [];
  }
}

function packOf(random: Random): PackDescription & { readonly bytes: Buffer } {
  const head = Buffer.concat([PACK_MAGIC, random.bytes(PACK_HEAD_SIZE_BYTES - PACK_MAGIC.length)]);
  const record = random.bytes(RECORD_SIZE_BYTES);
  const id = random.bytes(32);
  const entry: PackEntry = {
    id,
    kind: kindOf(id),
    compressed: false,
    padded: false,
    keyIndex: 0,
    ordinal: 0,
    offset: head.length,
    length: record.length,
    plainLength: record.length,
  };
  const footer = { keyBoxes: [random.bytes(KEY_BOX_SIZE_BYTES)], entries: [entry] };
  const end = encodePackEnd(footer, head.length + record.length);
  const bytes = Buffer.concat([head, record, end]);
  return { ...footer, pack: digest(bytes), sizeBytes: bytes.length, bytes };
}

/** What a store was asked for. */
export interface Asked {
  calls: number;
  namesListed: number;
}

/** A store that counts what it is asked for. */
export function counted(store: ObjectStore): {
  readonly store: ObjectStore;
  readonly asked: Asked;
} {
  const asked: Asked = { calls: 0, namesListed: 0 };
  const list: ObjectStore['list'] = async function* list(prefix, options) {
    asked.calls++;
    for await (const info of store.list(prefix, options)) {
      asked.namesListed++;
      yield info;
    }
  };
  const counting = new Proxy(store, {
    get(target, property) {
      if (property === 'list') return list;
      const value: unknown = Reflect.get(target, property);
      if (typeof value !== 'function') return value;
      return (...words: unknown[]): unknown => {
        asked.calls++;
        return Reflect.apply(value, target, words);
      };
    },
  });
  return { store: counting, asked };
}
