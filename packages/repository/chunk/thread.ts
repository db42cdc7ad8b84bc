/** A chunk thread: answers requests in order, one answer each. */
import { parentPort, workerData } from 'node:worker_threads';
import { required, systemRandom } from '@coffer/base';
import type { FinishedPack } from '../pack/pack-builder.ts';
import { ChunkEngine } from './engine.ts';
import {
  asBuffer,
  fromShared,
  type MovedPack,
  type ThreadRequest,
  type ThreadResult,
  type ThreadStart,
  unpackOpenItems,
} from './thread-protocol.ts';

const port = required(parentPort, 'a chunk thread has a parent');
const start = workerData as ThreadStart;
const engine = new ChunkEngine(
  {
    publicKey: asBuffer(start.publicKey),
    hashKey: asBuffer(start.hashKey),
    privateKey: start.privateKey && asBuffer(start.privateKey),
  },
  systemRandom,
);

port.on('message', (request: ThreadRequest) => {
  if (request.type === 'recycle') {
    engine.recycle(request.memory);
    return;
  }
  const result = answer(request);
  port.postMessage(result, result.type === 'packs' ? result.packs.map((pack) => pack.memory) : []);
});

const ready: ThreadResult = { type: 'ready' };
port.postMessage(ready);

function answer(request: Exclude<ThreadRequest, { type: 'recycle' }>): ThreadResult {
  try {
    return perform(request);
  } catch (error) {
    return { type: 'error', error };
  }
}

function perform(request: Exclude<ThreadRequest, { type: 'recycle' }>): ThreadResult {
  switch (request.type) {
    case 'identify':
      return { type: 'ids', ids: engine.identify(fromShared(request.slab), request.spans) };
    case 'cut': {
      const lengths = engine.cut(fromShared(request.slab), request.span, request.last);
      return { type: 'lengths', lengths };
    }
    case 'seal': {
      const { slab, spans, ids } = request;
      return packs(engine.seal(fromShared(slab), spans, asBuffer(ids)));
    }
    case 'open': {
      const { source, target } = request;
      const items = unpackOpenItems(request.items);
      const failures = engine.open(fromShared(source), fromShared(target), items);
      return { type: 'failures', failures };
    }
    case 'finish': {
      const pack = engine.finish();
      return packs(pack ? [pack] : []);
    }
  }
}

function packs(finished: readonly FinishedPack[]): ThreadResult {
  return { type: 'packs', packs: finished.map(toMovedPack) };
}

function toMovedPack({ pack, sizeBytes, bytes }: FinishedPack): MovedPack {
  const memory = bytes.buffer as ArrayBuffer;
  return { pack: new Uint8Array(pack), offset: bytes.byteOffset, sizeBytes, memory };
}
