/**
 * A chunk thread: answers requests in order, one answer each. It has an engine for each repository
 * whose keys it was told, and a sealer for each session that it seals for.
 */
import { parentPort } from 'node:worker_threads';
import { required, systemRandom } from '@coffer/base';
import type { FinishedPack } from '../pack/pack-builder.ts';
import { ChunkEngine, type EngineKeys, SlabSealer } from './engine.ts';
import {
  asBuffer,
  fromShared,
  type MovedPack,
  type ThreadKeys,
  type ThreadNotice,
  type ThreadRequest,
  type ThreadResult,
  unpackOpenItems,
} from './thread-protocol.ts';

interface Known {
  readonly engine: ChunkEngine;
  readonly publicKey: Buffer;
}

const port = required(parentPort, 'a chunk thread has a parent');
const known = new Map<number, Known>();
const sealers = new Map<number, SlabSealer>();
const NOTICES: ReadonlySet<string> = new Set<ThreadNotice['type']>([
  'learn-keys',
  'forget-keys',
  'recycle',
  'drop-sealer',
]);

port.on('message', (message: ThreadRequest | ThreadNotice) => {
  if (isNotice(message)) {
    take(message);
    return;
  }
  const result = answer(message);
  port.postMessage(result, result.type === 'packs' ? result.packs.map((pack) => pack.memory) : []);
});

const ready: ThreadResult = { type: 'ready' };
port.postMessage(ready);

function isNotice(message: ThreadRequest | ThreadNotice): message is ThreadNotice {
  return NOTICES.has(message.type);
}

function take(notice: ThreadNotice): void {
  switch (notice.type) {
    case 'learn-keys':
      known.set(notice.keys, learn(notice.secrets));
      return;
    case 'forget-keys':
      known.delete(notice.keys);
      return;
    case 'recycle':
      // Of a session that has ended, the memory just goes.
      sealers.get(notice.sealer)?.recycle(notice.memory);
      return;
    case 'drop-sealer':
      sealers.delete(notice.sealer);
  }
}

function learn({ publicKey, hashKey, privateKey }: ThreadKeys): Known {
  const keys: EngineKeys = {
    publicKey: asBuffer(publicKey),
    hashKey: asBuffer(hashKey),
    privateKey: privateKey && asBuffer(privateKey),
  };
  return { engine: new ChunkEngine(keys), publicKey: keys.publicKey };
}

function answer(request: ThreadRequest): ThreadResult {
  try {
    return perform(request);
  } catch (error) {
    return { type: 'error', error };
  }
}

function perform(request: ThreadRequest): ThreadResult {
  if (request.type === 'finish') {
    const pack = sealers.get(request.sealer)?.finish();
    return packs(pack ? [pack] : []);
  }
  const { engine } = required(known.get(request.keys), 'a chunk thread was told the keys');
  switch (request.type) {
    case 'identify':
      return { type: 'ids', ids: engine.identify(fromShared(request.slab), request.spans) };
    case 'cut': {
      const lengths = engine.cut(fromShared(request.slab), request.span, request.last);
      return { type: 'lengths', lengths };
    }
    case 'seal': {
      const { slab, spans, ids, effort } = request;
      const chunks = { ids: asBuffer(ids), effort };
      return packs(sealerOf(request).seal(fromShared(slab), spans, chunks));
    }
    case 'open': {
      const { source, target } = request;
      const items = unpackOpenItems(request.items);
      return { type: 'opened', opened: engine.open(fromShared(source), fromShared(target), items) };
    }
  }
}

function sealerOf(request: Extract<ThreadRequest, { type: 'seal' }>): SlabSealer {
  const { sealer: number, keys, options } = request;
  const existing = sealers.get(number);
  if (existing) return existing;
  const { publicKey } = required(known.get(keys), 'a chunk thread was told the keys');
  const sealer = new SlabSealer(publicKey, systemRandom, options);
  sealers.set(number, sealer);
  return sealer;
}

function packs(finished: readonly FinishedPack[]): ThreadResult {
  return { type: 'packs', packs: finished.map(toMovedPack) };
}

function toMovedPack({ pack, sizeBytes, bytes }: FinishedPack): MovedPack {
  const memory = bytes.buffer as ArrayBuffer;
  return { pack: new Uint8Array(pack), offset: bytes.byteOffset, sizeBytes, memory };
}
