import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { isCofferError, seededRandom } from '@coffer/base';
import { diskContract } from '@coffer/disk/testing/contract.ts';
import { openExt4 } from '../ext4/ext4.ts';
import { makeImage } from '../ext4/testing/mounted.ts';
import { nodeAt, readAt } from '../testing/file-system-contract.ts';
import { memoryDisk } from '../testing/memory-disk.ts';
import { withFolder } from '../testing/tool.ts';
import { openLuks } from './luks.ts';
import {
  argon2,
  changedImage,
  luks2Image,
  OTHER_PASSPHRASE,
  PASSPHRASE,
  PBKDF2,
  sealHeader,
  SECOND_COPY_OFFSET,
  withMetadata,
} from './testing/luks-image.ts';

const MIB = 1024 * 1024;

const CASES: readonly (readonly string[])[] = [
  [...argon2('argon2id'), '--sector-size', '4096'],
  [...argon2('argon2i', 2), '--sector-size', '512'],
  [...PBKDF2, '--hash', 'sha1', '--sector-size', '1024', '--cipher', 'aes-xts-plain'],
  [...PBKDF2, '--hash', 'sha512', '--sector-size', '2048', '--key-size', '256'],
  [...PBKDF2, '--cipher', 'aes-cbc-essiv:sha256', '--key-size', '256', '--sector-size', '4096'],
  [...PBKDF2, '--cipher', 'aes-cbc-plain64', '--key-size', '128', '--sector-size', '1024'],
];

for (const options of CASES) {
  diskContract(`LUKS2 by cryptsetup ${options.join(' ')}`, async () => {
    const expected = seededRandom(1).bytes(3 * MIB);
    const image = await luks2Image(expected, options);
    return { disk: await openLuks(memoryDisk(image), PASSPHRASE), expected };
  });
}

const plain = seededRandom(2).bytes(64 * 1024);
const simple = luks2Image(plain, [...PBKDF2, '--sector-size', '512']);
const withTwoKeys = simple.then((image) =>
  changedImage(image, (path, newKeyFile) => ['luksAddKey', ...PBKDF2, path, newKeyFile]),
);

async function content(image: Buffer, passphrase = PASSPHRASE): Promise<Buffer> {
  const disk = await openLuks(memoryDisk(image), passphrase);
  const bytes = Buffer.alloc(disk.sizeBytes);
  await disk.read(0, bytes);
  return bytes;
}

async function assertOpens(image: Buffer, passphrase = PASSPHRASE): Promise<void> {
  assert.ok((await content(image, passphrase)).equals(plain));
}

test('a wrong passphrase opens no key slot', async () => {
  const wanted = { code: 'volume-locked', message: /the passphrase opens no key slot/ };
  await assert.rejects(content(await simple, Buffer.from('wrong')), wanted);
});

test('every key slot is tried, whatever its priority, and those that are gone are not', async () => {
  const image = await withTwoKeys;
  await assertOpens(image);
  await assertOpens(image, OTHER_PASSPHRASE);
  const ignored = await changedImage(image, (path) => [
    ...'config --key-slot 0 --priority ignore'.split(' '),
    path,
  ]);
  await assertOpens(ignored);
  const removed = await changedImage(image, (path) => ['luksRemoveKey', path]);
  await assert.rejects(content(removed), { code: 'volume-locked' });
  await assertOpens(removed, OTHER_PASSPHRASE);
});

test('a key slot that cannot be used stops no other', async () => {
  const edits: readonly [from: RegExp, to: string][] = [
    [/"type":"luks2"/, '"type":"reencrypt"'],
    [/"stripes":4000/, '"stripes":4000000'],
    [/"iterations":1000/, '"iterations":4000000000'],
    [/"hash":"sha256"/, '"hash":"whirlpool"'],
    [/"offset":"\d+"/, '"offset":"99999999999"'],
  ];
  for (const [from, to] of edits) {
    const image = withMetadata(await withTwoKeys, (json) => json.replace(from, to));
    await assertOpens(image, OTHER_PASSPHRASE);
    const wanted = { code: 'volume-locked', message: /unusableKeySlotCount: 1/ };
    await assert.rejects(content(image), wanted);
  }
});

test('either copy of the header will do, and none is too few', async () => {
  const image = await simple;
  for (const places of [[0], [SECOND_COPY_OFFSET], [0, SECOND_COPY_OFFSET]]) {
    // In the magic, and in the JSON, where only the checksum tells.
    for (const within of [1, 4096 + 30]) {
      const damaged = Buffer.from(image);
      for (const place of places) damaged[place + within]! ^= 1;
      if (places.length === 1) await assertOpens(damaged);
      else await assert.rejects(content(damaged), { code: 'file-system-damaged' });
    }
  }
});

test('the copy that was written last counts', async () => {
  const older = await simple;
  for (const offset of [0, SECOND_COPY_OFFSET]) {
    const image = Buffer.from(await withTwoKeys);
    older.copy(image, offset, offset, offset + SECOND_COPY_OFFSET);
    await assertOpens(image, OTHER_PASSPHRASE);
  }
});

test('several segments are one volume, each with its own count of sectors', async () => {
  const image = withMetadata(await simple, (json) => {
    const segment = /"0":(\{"type":"crypt","offset":"(\d+)"[^}]*\})/.exec(json)!;
    const offset = Number(segment[2]);
    const first = segment[1]!.replace('"dynamic"', '"8192"');
    const second = segment[1]!
      .replace(String(offset), String(offset + 8192))
      .replace('"iv_tweak":"0"', '"iv_tweak":"16"');
    return json
      .replace(segment[1]!, `${first},"1":${second}`)
      .replace('"segments":["0"]', '"segments":["0","1"]');
  });
  await assertOpens(image);
});

test('a change of the key that is not finished is told', async () => {
  const image = await changedImage(await simple, (path) => [
    ...'reencrypt --init-only --resilience none --force-offline-reencrypt'.split(' '),
    ...PBKDF2,
    path,
  ]);
  const wanted = { code: 'file-system-unsupported', message: /requirement online-reencrypt/ };
  await assert.rejects(content(image), wanted);
});

test('what the metadata asks for is bounded, and told', async () => {
  const cases: readonly [from: RegExp, to: string, code: string, message: RegExp][] = [
    [/^\{/, '', 'file-system-damaged', /no JSON/],
    [/^.*$/, '['.repeat(12_000), 'file-system-damaged', /no JSON/],
    [/"segments":/, '"parts":', 'file-system-damaged', /metadata segments/],
    [/"keyslots":\{"0"/, '"keyslots":{"77"', 'file-system-damaged', /metadata keyslots/],
    [/"segments":\["0"\]/, '"segments":[]', 'file-system-damaged', /no digest/],
    [/"digest":"[^"]*"/, '"digest":""', 'file-system-damaged', /digest/],
    [/"type":"crypt"/, '"type":"linear"', 'file-system-unsupported', /"linear"/],
    [/"sector_size":512/, '"sector_size":0', 'file-system-damaged', /sector_size/],
    [/"size":"dynamic"/, '"size":"0"', 'file-system-damaged', /segment 0 of 0 bytes/],
    [/"size":"dynamic"/, '"size":"700"', 'file-system-damaged', /segment 0 of 700/],
    [/"size":"dynamic"/, '"size":"dynamic","flags":["x"]', 'file-system-unsupported', /flag "x"/],
    [/"size":"dynamic"/, '"size":"dynamic","integrity":{}', 'file-system-unsupported', /integrity/],
    [/"iv_tweak":"0"/, '"iv_tweak":"18446744073709551615"', 'file-system-damaged', /iv_tweak/],
    [/("crypt","offset":)"\d+"/, '$1"0"', 'file-system-unsupported', /detached/],
    [/("crypt","offset":)"\d+"/, '$1"4398046511104"', 'file-system-damaged', /segment 0/],
    [/"iv_tweak":"0","encryption"/, '"iv_tweak":"0","cipher"', 'file-system-damaged', /encryption/],
    [/(tweak.*)aes-xts-plain64/, '$1serpent-cbc', 'file-system-unsupported', /"serpent-cbc"/],
    [/"key_size":64/, '"key_size":6400000', 'file-system-damaged', /key_size/],
    [/"key_size":64/, '"key_size":20', 'file-system-unsupported', /key of 20 bytes/],
    [/"size":"\d+"/, '"size":"512"', 'file-system-damaged', /key slot 0 in 512 bytes/],
    [/"offset":"\d+"/, '"offset":"99999999999"', 'file-system-damaged', /beyond the end/],
    [/"stripes":4000/, '"stripes":1e9', 'file-system-damaged', /stripes/],
    [/"iterations":1000/, '"iterations":4000000000', 'file-system-unsupported', /too much work/],
    [/"iterations":1000/, '"iterations":4e99', 'file-system-damaged', /iterations/],
    [/"config":\{/, `"config":{${mandatory('future')},`, 'file-system-unsupported', /future/],
    [/"kdf":\{[^}]*\}/, `"kdf":${argon(4, 8_000_000)}`, 'file-system-unsupported', /8000000 KiB/],
    [/"kdf":\{[^}]*\}/, `"kdf":${argon(1e6, 65_536)}`, 'file-system-unsupported', /too much work/],
    [/"kdf":\{[^}]*\}/, `"kdf":${argon(1, 8)}`, 'file-system-unsupported', /2 lanes/],
    [/"kdf":\{[^}]*\}/, '"kdf":{"type":"scrypt"}', 'file-system-damaged', /kdf/],
  ];
  for (const [from, to, code, message] of cases) {
    const image = withMetadata(await simple, (json) => {
      assert.match(json, from);
      return json.replace(from, to);
    });
    await assert.rejects(content(image), { code, message }, to.slice(0, 80));
  }
});

function mandatory(requirement: string): string {
  return `"requirements":{"mandatory":["${requirement}"]}`;
}

function argon(time: number, memory: number): string {
  const salt = Buffer.alloc(32).toString('base64');
  return JSON.stringify({ type: 'argon2id', time, memory, cpus: 2, salt });
}

test('a binary header with other sizes and places is not used', async () => {
  for (const [at, value] of [
    [8, 0n],
    [8, 2n ** 63n],
    [8, 0x8000n],
    [256, 4096n],
  ] as const) {
    const image = Buffer.from(await simple);
    for (const offset of [0, SECOND_COPY_OFFSET]) {
      image.writeBigUInt64BE(value, offset + at);
      sealHeader(image, offset);
    }
    await assert.rejects(content(image), { code: 'file-system-damaged' });
  }
});

test('a header that is cut or flipped at any place ends well, or with an error', async () => {
  const random = seededRandom(3);
  const image = await simple;
  for (const length of [0, 600, 4096, 16_000, 40_000, 300_000]) {
    const outcome = await content(image.subarray(0, length)).catch((error: unknown) => error);
    assert.ok(isCofferError(outcome), `cut at ${length}: ${String(outcome)}`);
  }
  for (let round = 0; round < 120; round++) {
    const flipped = Buffer.from(image);
    for (const start of [0, SECOND_COPY_OFFSET]) {
      const offset = start + 4096 + Math.floor(random.fraction() * 900);
      flipped[offset]! ^= 1 << Math.floor(random.fraction() * 8);
      sealHeader(flipped, start);
    }
    const outcome = await content(flipped).catch((error: unknown) => error);
    const isWell = Buffer.isBuffer(outcome) || isCofferError(outcome);
    assert.ok(isWell, `round ${round}: ${String(outcome)}`);
  }
});

test('a read beyond the end of an image that is cut fails, and others do not', async () => {
  const image = await simple;
  const fixed = withMetadata(image, (json) => json.replace('"dynamic"', `"${plain.length}"`));
  const disk = await openLuks(memoryDisk(fixed.subarray(0, fixed.length - 4096)), PASSPHRASE);
  const bytes = Buffer.alloc(plain.length - 4096);
  await disk.read(0, bytes);
  assert.ok(bytes.equals(plain.subarray(0, bytes.length)));
  const beyond = disk.read(bytes.length - 1, Buffer.alloc(2));
  await assert.rejects(beyond, { code: 'file-system-damaged' });
});

test('closing the volume closes its disk', async () => {
  let closedCount = 0;
  const given = memoryDisk(await simple);
  const close = async () => {
    closedCount++;
  };
  const disk = await openLuks({ ...given, close }, PASSPHRASE);
  await disk.close();
  assert.equal(closedCount, 1);
});

test('the file system on a volume is read through it', async () => {
  await withFolder(async (folder) => {
    const source = join(folder, 'source');
    await mkdir(join(source, 'folder'), { recursive: true });
    const bytes = seededRandom(4).bytes(2 * MIB + 77);
    await writeFile(join(source, 'folder', 'file'), bytes);
    const path = join(folder, 'ext4');
    await makeImage(path, 8 * MIB, 'mke2fs', '-q', '-F', '-t', 'ext4', '-d', source);
    const image = await luks2Image(await readFile(path), argon2('argon2id'));
    const fileSystem = await openExt4(await openLuks(memoryDisk(image), PASSPHRASE));
    const file = await nodeAt(fileSystem, 'folder/file');
    assert.ok((await readAt(fileSystem, file, 0, bytes.length + 1)).equals(bytes));
    await fileSystem.close();
  });
});
