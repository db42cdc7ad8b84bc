/** What who has no key learns by sizes, with each padding of a key domain. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Padding, PADDINGS } from './chunk/padding.ts';
import { copyPoints } from './copy/copy.ts';
import { decodeIndexObject } from './index/index-codec.ts';
import {
  chunkOf,
  getWhole,
  namesOf,
  protectDisk,
  readDisk,
  TestRepository,
} from './testing/test-repository.ts';
import { verifyRepository } from './verify/verify.ts';

/** Contents that are about as long, and compress to about as much. */
const TEXTS = [0, 1, 2].map((number) =>
  Buffer.concat([Buffer.alloc(30_000, `text ${number} `), chunkOf(number, 5000 + number * 10)]),
);
/** As long, and compresses to much less. */
const DULL = Buffer.alloc(TEXTS[0]!.length, 'dull');

async function sizesWith(padding: Padding, chunks: readonly Buffer[]): Promise<Set<string>> {
  await using test = await TestRepository.create({ padding });
  const host = await test.host();
  const point = await protectDisk(host, chunks);
  assert.deepEqual(await readDisk(await test.host(), point), chunks);
  const { findings } = await verifyRepository({ repository: host, readFraction: 1 });
  assert.deepEqual(findings, []);
  const sizes = new Set<string>();
  for (const name of await namesOf(test.store, 'index/')) {
    const packs = decodeIndexObject({ name, bytes: await getWhole(test.store, name) });
    const entries = packs.flatMap((pack) => pack.entries).filter(({ kind }) => kind === 'data');
    for (const { length, plainLength, compressed } of entries) {
      sizes.add(`${length} ${plainLength} ${compressed}`);
    }
  }
  return sizes;
}

const TOLD: Record<Padding, { readonly texts: number; readonly dull: number }> = {
  none: { texts: 3, dull: 2 },
  classes: { texts: 1, dull: 2 },
  full: { texts: 1, dull: 1 },
};

for (const padding of PADDINGS) {
  test(`with padding ${padding}, sizes tell what they are said to`, async () => {
    assert.equal((await sizesWith(padding, TEXTS)).size, TOLD[padding].texts);
    assert.equal((await sizesWith(padding, [TEXTS[0]!, DULL])).size, TOLD[padding].dull);
  });

  test(`what is padded as ${padding} is copied to key domains of each padding`, async () => {
    await using from = await TestRepository.create({ padding });
    const source = await from.host();
    await protectDisk(source, [...TEXTS, DULL]);
    for (const other of PADDINGS) {
      await using to = await TestRepository.create({ padding: other, seed: 2 });
      await copyPoints({ source, target: await to.host(), isWanted: () => true });
      const [copied] = await (await to.host()).points();
      assert.deepEqual(await readDisk(await to.host(), copied!), [...TEXTS, DULL]);
    }
  });
}
