/** What `putStream` has to keep in every object store, as tests. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { digest, systemRandom } from '@coffer/base';
import type { ObjectStore } from '../object-store.ts';
import { WITHHELD_SIZE_BYTES } from '../withheld.ts';
import { ANY_SIZE, assertCode, failsWith } from './expectations.ts';

const PIECE_SIZE = 100_003;
const MIB = 1024 * 1024;
const LARGE_SIZE = 9 * MIB + 17;
/** Around the part that is kept back, and several pieces of every adapter. */
const SIZES = [0, 1, WITHHELD_SIZE_BYTES, WITHHELD_SIZE_BYTES + 1, LARGE_SIZE];

export function streamContract(store: () => ObjectStore): void {
  it('gives back what was streamed, of any size', () => givesBackStreams(store()));
  it('never replaces an object by a stream', () => neverReplaces(store()));
  it('lets one of many streams of a name win, whole', () => letsOneWin(store()));
  it('shows nothing of a stream that is not what was announced', () => refusesOthers(store()));
  it('shows nothing of a stream whose source fails', () => failsAsItsSource(store()));
  it('stops a stream when it is told to', () => stops(store()));
}

async function givesBackStreams(store: ObjectStore): Promise<void> {
  for (const size of SIZES) {
    const bytes = systemRandom.bytes(size);
    await store.putStream(`stream/${size}`, piecesOf(bytes), announced(bytes));
    assert.ok((await store.get(`stream/${size}`, ANY_SIZE)).equals(bytes), `${size} bytes`);
  }
}

async function neverReplaces(store: ObjectStore): Promise<void> {
  const bytes = systemRandom.bytes(LARGE_SIZE);
  await store.put('stream-replace/a', Buffer.from('first'));
  const streamed = store.putStream('stream-replace/a', piecesOf(bytes), announced(bytes));
  await failsWith('object-exists', streamed);
  assert.equal((await store.get('stream-replace/a', ANY_SIZE)).toString(), 'first');
  await store.putStream('stream-replace/b', piecesOf(bytes), announced(bytes));
  await failsWith('object-exists', store.put('stream-replace/b', Buffer.from('second')));
}

async function letsOneWin(store: ObjectStore): Promise<void> {
  const candidates = Array.from({ length: 5 }, (_, index) => Buffer.alloc(2 * MIB, index + 1));
  const results = await Promise.allSettled(
    candidates.map((bytes) => store.putStream('stream-race/a', piecesOf(bytes), announced(bytes))),
  );
  const winners = candidates.filter((_, index) => results[index]?.status === 'fulfilled');
  assert.equal(winners.length, 1, 'exactly one stream succeeds');
  for (const result of results) {
    if (result.status === 'rejected') assertCode(result.reason, 'object-exists');
  }
  assert.ok((await store.get('stream-race/a', ANY_SIZE)).equals(winners[0]!));
}

async function refusesOthers(store: ObjectStore): Promise<void> {
  for (const size of SIZES) {
    const bytes = systemRandom.bytes(size + 1);
    const cases = {
      digest: { sizeBytes: bytes.length, digest: digest(Buffer.from('another')) },
      shorter: { ...announced(bytes), sizeBytes: bytes.length + 1 },
      longer: { ...announced(bytes), sizeBytes: bytes.length - 1 },
    };
    for (const [what, options] of Object.entries(cases)) {
      const name = `stream-other/${what}/${size}`;
      await failsWith('upload-damaged', store.putStream(name, piecesOf(bytes), options));
      assert.equal(await store.stat(name), undefined, name);
    }
  }
}

async function failsAsItsSource(store: ObjectStore): Promise<void> {
  const reason = new Error('the sender is gone');
  for (const sent of [0, 1000, LARGE_SIZE]) {
    const bytes = systemRandom.bytes(sent);
    async function* breaking(): AsyncGenerator<Uint8Array> {
      yield* piecesOf(bytes);
      throw reason;
    }
    const options = { sizeBytes: sent + 10, digest: digest(bytes) };
    const streamed = store.putStream(`stream-broken/${sent}`, breaking(), options);
    await assert.rejects(streamed, (error) => error === reason);
    assert.equal(await store.stat(`stream-broken/${sent}`), undefined);
  }
}

async function stops(store: ObjectStore): Promise<void> {
  const reason = new Error('told to stop');
  const controller = new AbortController();
  const bytes = systemRandom.bytes(LARGE_SIZE);
  async function* stopping(): AsyncGenerator<Uint8Array> {
    yield bytes.subarray(0, MIB);
    controller.abort(reason);
    yield bytes.subarray(MIB);
  }
  const { signal } = controller;
  const options = { ...announced(bytes), signal };
  for (const name of ['stream-stop/midway', 'stream-stop/at-once']) {
    const streamed = store.putStream(name, stopping(), options);
    await assert.rejects(streamed, (error) => error === reason);
    assert.equal(await store.stat(name), undefined);
  }
}

function announced(bytes: Uint8Array): { sizeBytes: number; digest: Buffer } {
  return { sizeBytes: bytes.length, digest: digest(bytes) };
}

/** Pieces of an odd size. */
async function* piecesOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes.length; offset += PIECE_SIZE) {
    yield bytes.subarray(offset, offset + PIECE_SIZE);
  }
}
