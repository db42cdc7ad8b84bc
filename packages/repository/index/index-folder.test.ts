import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { seededRandom } from '@coffer/base';
import { IndexFolder } from './index-folder.ts';
import { ChunkIndex } from './chunk-index.ts';

const base = mkdtempSync(join(tmpdir(), 'coffer-index-folder-'));
after(() => rmSync(base, { recursive: true }));
let made = 0;
const random = seededRandom(3);

/** An index that knows of one object, and is closed. */
async function closedIndex(): Promise<string> {
  const folder = join(base, String(made++));
  const index = ChunkIndex.open(folder);
  await index.add('index/one', []);
  await index.close();
  return folder;
}

/** Whether what was added is there still; nothing may go over to a passing folder. */
async function isKept(folder: string): Promise<boolean> {
  const index = ChunkIndex.open(folder, { onPassing: (_, reason) => assert.fail(reason) });
  const isThere = index.hasObject('index/one');
  await index.close();
  return isThere;
}

/** Opens the index in another process, which does something and then ends badly, or well. */
async function elsewhere(folder: string, end: string, filesLeft?: number): Promise<void> {
  const script = `
    const { closeSync, openSync } = await import('node:fs');
    const { ChunkIndex } = await import('${new URL('chunk-index.ts', import.meta.url).href}');
    const open = [];
    try {
      while (${filesLeft !== undefined}) open.push(openSync('/dev/null'));
    } catch {}
    for (const fd of open.splice(0, ${filesLeft ?? 0})) closeSync(fd);
    try {
      const index = ChunkIndex.open('${folder}');
      index.hasObject('index/one');
    } catch (error) {
      if (error.code !== 'cache-unusable') throw error;
    }
    for (const fd of open) closeSync(fd);
    ${end};`;
  const limited = ['-c', 'ulimit -n 100; exec "$0" "$@"', process.execPath];
  const child = spawn('sh', [...limited, '--input-type=module', '--eval', script], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  await once(child, 'exit');
}

test('an index is there again after it was closed, and for its owner only', async () => {
  const folder = await closedIndex();
  assert.ok(await isKept(folder));
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  for (const name of readdirSync(folder)) {
    assert.equal(statSync(join(folder, name)).mode & 0o077, 0, name);
  }
});

test('a process that ends without closing the index leaves it whole', async () => {
  const folder = await closedIndex();
  await elsewhere(folder, 'process.exit(1)');
  assert.ok(await isKept(folder));
});

test('the index of a process that was killed, perhaps by the index itself, is made anew', async () => {
  const folder = await closedIndex();
  await elsewhere(folder, "process.kill(process.pid, 'SIGSEGV')");
  assert.ok(!(await isKept(folder)));
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('open-')),
    [],
  );
});

test('a process that died while another one goes on is not forgotten', async () => {
  const folder = await closedIndex();
  const index = ChunkIndex.open(folder);
  await elsewhere(folder, "process.kill(process.pid, 'SIGKILL')");
  assert.ok(index.hasObject('index/one'), 'nothing is taken from who uses it');
  await index.close();
  assert.ok(!(await isKept(folder)));
});

test('damage at rest is seen before the file is mapped', async () => {
  const damages: ((file: string) => void)[] = [
    (file) => truncateSync(file, statSync(file).size / 2),
    (file) => truncateSync(file, 0),
    (file) => truncateSync(file, statSync(file).size + 4096),
    (file) => rmSync(file),
  ];
  for (let count = 0; count < 20; count++) damages.push(flipSomeBit);
  for (const damage of damages) {
    const folder = await closedIndex();
    damage(join(folder, 'data.mdb'));
    assert.ok(!(await isKept(folder)));
    assert.ok(!(await isKept(folder)));
  }
});

function flipSomeBit(file: string): void {
  const bytes = readFileSync(file);
  const place = Math.floor(random.fraction() * bytes.length);
  const fd = openSync(file, 'r+');
  writeSync(fd, Buffer.of(bytes[place]! ^ 4), 0, 1, place);
  closeSync(fd);
}

test('a process that may open no more files throws nothing away', async () => {
  for (const filesLeft of [0, 1, 2, 3, 4, 5, 6]) {
    const folder = await closedIndex();
    await elsewhere(folder, `process.exit(0)`, filesLeft);
    assert.ok(await isKept(folder), `with ${filesLeft} left`);
  }
});

test('who comes while another one uses the index shares it', async () => {
  const folder = await closedIndex();
  const first = IndexFolder.enter(folder);
  const size = statSync(join(folder, 'data.mdb')).size;
  const second = IndexFolder.enter(folder);
  assert.equal(statSync(join(folder, 'data.mdb')).size, size);
  first.leave();
  assert.ok(!readdirSync(folder).includes('seal'), 'it is in use');
  second.leave();
  assert.ok(await isKept(folder));
});

test('what has met damage has the files thrown away, but not from others', async () => {
  const folder = await closedIndex();
  const first = IndexFolder.enter(folder);
  const second = IndexFolder.enter(folder);
  first.condemn();
  second.leave();
  assert.ok(!(await isKept(folder)));
});
