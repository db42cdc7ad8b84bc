/** What format version 1 wrote stays readable: the golden repository opens, verifies and reads. */
import assert from 'node:assert/strict';
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Digest, type FileEntry, isCofferError, seededRandom } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { openMemoryStore } from '@coffer/storage/memory.ts';
import { type ChunkId, idKey, isZeroId } from './chunk/chunk-id.ts';
import type { ChunkReader } from './chunk/chunk-reader.ts';
import { inlineChunkPool } from './chunk/chunk-work.ts';
import { type PointRoot, type RecoveryPoint } from './recovery-point.ts';
import { Repository } from './repository.ts';
import { type GoldenFacts, makeGolden } from './testing/golden.ts';
import { stillClock, testProcesses } from './testing/test-repository.ts';
import { contentPieces } from './tree/content-tree.ts';
import { diskLeaves } from './tree/disk-tree.ts';
import { readFolderWhole } from './tree/folder-tree.ts';
import { verifyRepository } from './verify/verify.ts';

const GOLDEN = join(import.meta.dirname, 'golden/v1');
const FACTS = JSON.parse(readFileSync(join(GOLDEN, 'facts.json'), 'utf8')) as GoldenFacts;

function goldenObjects(): Map<string, Buffer> {
  const folder = join(GOLDEN, 'objects');
  const files = globSync('**/*', { cwd: folder, withFileTypes: true }).filter((e) => e.isFile());
  return new Map(
    files.map((file) => {
      const path = join(file.parentPath, file.name);
      return [path.slice(folder.length + 1), readFileSync(path)];
    }),
  );
}

async function openGolden(): Promise<{ repository: Repository } & AsyncDisposable> {
  const clock = stillClock();
  const store = openMemoryStore({ clock });
  for (const [name, bytes] of goldenObjects()) await store.put(name, bytes);
  const cacheFolder = mkdtempSync(join(tmpdir(), 'coffer-golden-'));
  const random = seededRandom(1);
  const repository = await Repository.open(testRun({ clock, random }), {
    store,
    index: { cacheFolder },
    processes: testProcesses,
    chunkPool: inlineChunkPool(random),
  });
  return {
    repository,
    [Symbol.asyncDispose]: async () => {
      await repository.close();
      rmSync(cacheFolder, { recursive: true });
    },
  };
}

/** Reads each chunk once, though files repeat them. */
class Contents {
  readonly #reader: ChunkReader;
  readonly #known = new Map<string, Buffer>();

  constructor(reader: ChunkReader) {
    this.#reader = reader;
  }

  async piece(id: ChunkId, length: number): Promise<Buffer> {
    if (isZeroId(id)) return Buffer.alloc(length);
    const known = this.#known.get(idKey(id)) ?? (await this.#reader.readData(id));
    this.#known.set(idKey(id), known);
    assert.equal(known.length, length);
    return known;
  }

  async ofDisks({ roots }: RecoveryPoint): Promise<Record<string, string>> {
    const found: Record<string, string> = {};
    for (const root of roots) found[root.name] = await this.#ofDisk(root);
    return found;
  }

  async #ofDisk({ root, sizeBytes }: PointRoot): Promise<string> {
    const whole = new Digest();
    const disk = { root: Buffer.from(root, 'hex'), sizeBytes };
    for await (const leaf of diskLeaves(this.#reader, disk)) {
      for (let index = 0; index < leaf.chunkCount; index++) {
        const offset = (leaf.firstChunkIndex + index) * 262_144;
        const id = leaf.ids?.[index] ?? Buffer.alloc(32);
        whole.update(await this.piece(id, Math.min(262_144, sizeBytes - offset)));
      }
    }
    return whole.finish().toString('hex');
  }

  async ofFolder(root: ChunkId, found: Record<string, string> = {}): Promise<typeof found> {
    for (const entry of await readFolderWhole(this.#reader, root)) {
      if (entry.folder) await this.ofFolder(entry.folder, found);
      const digest = await this.#ofFile(entry);
      if (digest !== undefined) found[entry.name.toString('latin1')] = digest;
    }
    return found;
  }

  async #ofFile({ content, sizeBytes }: FileEntry): Promise<string | undefined> {
    if (!content || sizeBytes === 0) return undefined;
    const whole = new Digest();
    let size = 0;
    for await (const { id, length } of contentPieces(this.#reader, content)) {
      whole.update(await this.piece(id, length));
      size += length;
    }
    assert.equal(size, sizeBytes);
    return whole.finish().toString('hex');
  }
}

const SECRETS = {
  passphrase: FACTS.passphrase,
  'recovery key': FACTS.recoveryKey,
  'sealed slot': Buffer.from(FACTS.sealedPrivateKey, 'hex'),
};

for (const [what, secret] of Object.entries(SECRETS)) {
  test(`the golden repository of version 1 opens by its ${what} and reads as recorded`, async () => {
    await using golden = await openGolden();
    const repository = await golden.repository.unlock(secret);
    const points = await repository.points({ deleted: true });
    const holds = await repository.holds();
    const key = Buffer.from(FACTS.receiptKey, 'hex');
    const receipts = await repository.receipts(key, (error) => assert.fail(error));
    const found = await Promise.all(
      points.map(async (point) => {
        const contents = new Contents(repository.reader());
        const { id, item, kind, held, copyOf } = point;
        const holders = holds.filter((hold) => hold.point === id).map(({ holder }) => holder);
        assert.equal(held, holders.length > 0);
        const isDeleted = point.deletion !== undefined;
        const beside = { holders, isDeleted, hasReceipt: receipts.has(id) };
        assert.deepEqual(repository.openManifest(point), { golden: item });
        const root = Buffer.from(point.roots[0]!.root, 'hex');
        const read = kind === 'files' ? contents.ofFolder(root) : contents.ofDisks(point);
        const origin = copyOf === undefined ? {} : { copyOf };
        return { id, item, kind, ...beside, ...origin, contents: await read };
      }),
    );
    assert.deepEqual(
      found.sort((a, b) => (a.id < b.id ? -1 : 1)),
      // Linked names hold one file; it was recorded under one of them.
      FACTS.points.map((point) =>
        point.item === 'golden files'
          ? { ...point, contents: { ...point.contents, 'linked too': point.contents['linked'] } }
          : point,
      ),
    );
  });
}

test('the golden repository verifies with its data, with and without keys', async () => {
  await using golden = await openGolden();
  const locked = golden.repository;
  for (const repository of [locked, await locked.unlock(FACTS.passphrase)]) {
    const { findings, packsRead, points } = await verifyRepository({ repository, readFraction: 1 });
    assert.deepEqual(findings, []);
    assert.ok(packsRead > 5);
    assert.equal(points, 5);
  }
});

test('a wrong passphrase and a mistyped recovery key open nothing', async () => {
  await using golden = await openGolden();
  const { repository } = golden;
  for (const secret of ['golden passphrase of version 2', `${FACTS.recoveryKey.slice(0, -1)}0`]) {
    await assert.rejects(repository.unlock(secret), (error) =>
      isCofferError(error, 'passphrase-wrong'),
    );
  }
});

test('what is written today is what the golden repository holds, byte for byte', async () => {
  const { facts, objects } = await makeGolden();
  // When only how is written has changed (where packs end, what is compressed), write it anew:
  // rm -r golden/v1 && node testing/golden.ts golden/v1. When the format has, it is a new version.
  assert.deepEqual(facts, FACTS);
  const stored = goldenObjects();
  assert.deepEqual([...objects.keys()], [...stored.keys()].sort());
  for (const [name, bytes] of objects) assert.ok(stored.get(name)!.equals(bytes), name);
});
