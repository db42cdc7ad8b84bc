import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import * as files from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { mapBounded } from '@coffer/base';
import type { FileCalls } from './filesystem/calls.ts';
import { openFilesystemStore } from './filesystem.ts';
import { objectStoreContract } from './testing/contract.ts';
import { ANY_SIZE, failsWith, listAll } from './testing/expectations.ts';
import { manualClock } from './testing/manual-clock.ts';

const execute = promisify(execFile);

objectStoreContract('filesystem', async () => {
  const folder = await files.mkdtemp(join(tmpdir(), 'coffer-'));
  const store = await openFilesystemStore(join(folder, 'a/b'), { create: true });
  const close = store.close.bind(store);
  store.close = async () => {
    await close();
    await files.rm(folder, { recursive: true });
  };
  return store;
});

/** Places without hard links, and what each says instead of making one. */
for (const code of ['EPERM', 'ENOTSUP', 'ENOSYS', 'EXDEV']) {
  objectStoreContract(`filesystem without hard links (${code})`, async () => {
    const folder = await files.mkdtemp(join(tmpdir(), 'coffer-'));
    const calls = { ...files, link: failWith(code) };
    const store = await openFilesystemStore(folder, { create: true, calls });
    const close = store.close.bind(store);
    store.close = async () => {
      await close();
      await files.rm(folder, { recursive: true });
    };
    return store;
  });
}

describe('filesystem without hard links', () => {
  const linkless: FileCalls = { ...files, link: failWith('EPERM') };

  /** A name that a process claims and does not put. */
  async function claimed(t: TestContext): Promise<{ folder: string; claim: string }> {
    const folder = await temporaryFolder(t);
    let claim = '';
    const killed: FileCalls = {
      ...linkless,
      rename: failWith('EIO'),
      unlink: async (path) => {
        if (String(path).includes('claim-')) claim = String(path);
        else await files.unlink(path);
      },
    };
    const store = await openFilesystemStore(folder, { calls: killed });
    await failsWith('store-failed', store.put('a', Buffer.from('first')));
    return { folder, claim };
  }

  it('lets one of many processes win, whole', async (t) => {
    const folder = await temporaryFolder(t);
    const open = () => openFilesystemStore(folder, { calls: linkless });
    const stores = await Promise.all(Array.from({ length: 8 }, open));
    for (let round = 0; round < 20; round++) {
      const puts = stores.map((store, index) =>
        store.put(`race/${round}`, Buffer.alloc(10_000, index)),
      );
      const results = await Promise.allSettled(puts);
      const winner = results.findIndex(({ status }) => status === 'fulfilled');
      assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
      const bytes = await stores[0]!.get(`race/${round}`, ANY_SIZE);
      assert.ok(bytes.equals(Buffer.alloc(10_000, winner)));
    }
    assert.deepEqual(await listFolder(join(folder, '.tmp')), []);
  });

  it('waits for another put of the name, and tells one that does not end', async (t) => {
    const { folder } = await claimed(t);
    const clock = manualClock();
    const store = await openFilesystemStore(folder, { calls: linkless, clock });
    await failsWith('store-unavailable', store.put('a', Buffer.from('second')));
    assert.ok(clock.sleeps.length > 100);
    await store.put('b', Buffer.from('second'));
    await files.writeFile(join(folder, 'a'), 'first');
    await failsWith('object-exists', store.put('a', Buffer.from('second')));
  });

  it('puts a name whose claim is old', async (t) => {
    const { folder, claim } = await claimed(t);
    await files.utimes(claim, 1, 1);
    const options = { calls: linkless, clock: manualClock() };
    const store = await openFilesystemStore(folder, options);
    await store.put('a', Buffer.from('second'));
    assert.equal(String(await store.get('a', ANY_SIZE)), 'second');
    assert.deepEqual(await listFolder(join(folder, '.tmp')), []);
  });

  it('removes old claims with the leftovers', async (t) => {
    const { folder, claim } = await claimed(t);
    await files.utimes(claim, 1, 1);
    await (await openFilesystemStore(folder)).removeLeftovers(1000);
    assert.deepEqual(await listFolder(join(folder, '.tmp')), []);
  });

  it('says what is missing where files cannot be renamed either', async (t) => {
    const folder = await temporaryFolder(t);
    const calls = { ...linkless, rename: failWith('ENOSYS') };
    const store = await openFilesystemStore(folder, { calls });
    await failsWith('store-unsupported', store.put('a', Buffer.alloc(1)));
    assert.deepEqual(await listFolder(join(folder, '.tmp')), []);
  });
});

describe('filesystem', () => {
  it('takes a link for its own that a network file system has made twice', async (t) => {
    const folder = await temporaryFolder(t);
    const link = async (from: string, to: string) => {
      await files.link(from, to);
      await files.link(from, to);
    };
    const store = await openFilesystemStore(folder, { calls: { ...files, link } as FileCalls });
    await store.put('a', Buffer.from('first'));
    await failsWith('object-exists', store.put('a', Buffer.from('second')));
    assert.equal(String(await store.get('a', ANY_SIZE)), 'first');
  });

  it('goes without what some places refuse: direct writes, syncs of folders', async (t) => {
    for (const code of ['EINVAL', 'ENOTSUP']) {
      const folder = await temporaryFolder(t);
      const open = async (path: string, flags: string | number, mode?: number) => {
        if (typeof flags === 'number') throw systemError(code);
        const file = await files.open(path, flags, mode);
        if (flags === 'r') file.sync = failWith(code);
        return file;
      };
      const calls = { ...files, open } as FileCalls;
      const store = await openFilesystemStore(folder, { create: true, calls });
      const bytes = Buffer.alloc(3_000_000, 7);
      await store.put('a', bytes);
      assert.ok((await store.get('a', ANY_SIZE)).equals(bytes));
      await store.close();
    }
  });

  it('refuses a new place that changes names, or lets a file be created twice', async (t) => {
    const changes = (path: unknown) =>
      String(path).replace(/\.try-.*/, (name) => name.toUpperCase());
    const places: FileCalls[] = [
      {
        ...files,
        open: async (path, ...rest) => await files.open(changes(path), ...rest),
        unlink: async (path) => await files.unlink(changes(path)),
      },
      {
        ...files,
        open: async (path, flags, ...rest) =>
          await files.open(path, flags === 'wx' ? 'w' : flags, ...rest),
      },
    ];
    for (const calls of places) {
      const folder = await temporaryFolder(t);
      await failsWith('store-unsupported', openFilesystemStore(folder, { create: true, calls }));
      assert.deepEqual(await listFolder(folder), []);
    }
  });

  it('refuses a folder that is missing, or no folder', async (t) => {
    const folder = await temporaryFolder(t);
    await failsWith('repository-not-found', openFilesystemStore(join(folder, 'missing')));
    await files.writeFile(join(folder, 'file'), '');
    await failsWith('repository-not-found', openFilesystemStore(join(folder, 'file')));
    await failsWith('repository-not-found', openFilesystemStore(join(folder, 'file/below')));
  });

  it('syncs the file, links it, then syncs the folder that holds it', async (t) => {
    const { calls, events } = recorded(await temporaryFolder(t));
    const store = await openFilesystemStore(join(calls.root, 'new/store'), { create: true, calls });
    const tried = 'unlink new/store/.try-*';
    assert.deepEqual(events.splice(0), [
      'mkdir new',
      'sync ',
      'mkdir new/store',
      'sync new',
      tried,
    ]);
    await store.put('packs/ab/x', Buffer.from('a'));
    const folders = ['mkdir new/store/packs', 'mkdir new/store/packs/ab', 'sync new/store/packs'];
    for (const event of folders) assert.ok(events.includes(event), event);
    const last = events.slice(events.indexOf('write new/store/.tmp/*'));
    const expected = ['write new/store/.tmp/*', 'sync new/store/.tmp/*'];
    expected.push(
      'link new/store/packs/ab/x',
      'sync new/store/packs/ab',
      'unlink new/store/.tmp/*',
    );
    assert.deepEqual(last, expected);
    events.length = 0;
    await store.put('packs/ab/y', Buffer.from('a'));
    assert.deepEqual(
      events,
      expected.map((event) => event.replace('/x', '/y')),
    );
    events.length = 0;
    await failsWith('object-exists', store.put('packs/ab/x', Buffer.from('a')));
    // Its writer may have been killed before it could.
    assert.ok(events.includes('sync new/store/packs/ab'));
    events.length = 0;
    await store.delete('packs/ab/x');
    assert.deepEqual(events, ['unlink new/store/packs/ab/x', 'sync new/store/packs/ab']);
    await store.close();
  });

  it('lets puts that run at once share the syncs of their folder', async (t) => {
    const { calls, events } = recorded(await temporaryFolder(t));
    const store = await openFilesystemStore(calls.root, { calls });
    await store.put('packs/first', Buffer.from('a'));
    events.length = 0;
    const names = Array.from({ length: 200 }, (_, index) => `packs/${index}`);
    await mapBounded(names, 50, (name) => store.put(name, Buffer.from('a')));
    const count = events.filter((event) => event === 'sync packs').length;
    assert.ok(count < 150, `${count} syncs for 200 puts`);
  });

  it('leaves nothing behind when a put fails', async (t) => {
    const folder = await temporaryFolder(t);
    for (const method of ['open', 'link'] as const) {
      const calls = { ...files, [method]: failWith('EIO') };
      const store = await openFilesystemStore(folder, { calls });
      await failsWith('store-failed', store.put('packs/a', Buffer.from('a')));
      assert.equal(await store.stat('packs/a'), undefined);
      assert.deepEqual(await listFolder(join(folder, '.tmp')), []);
    }
  });

  it('removes old leftovers only', async (t) => {
    const folder = await temporaryFolder(t);
    const store = await openFilesystemStore(folder);
    await store.removeLeftovers(0);
    await store.put('a', Buffer.from('a'));
    for (const name of ['old', 'new']) await files.writeFile(join(folder, '.tmp', name), 'torn');
    await files.utimes(join(folder, '.tmp/old'), 1, 1);
    await store.removeLeftovers(3_600_000);
    assert.deepEqual(await files.readdir(join(folder, '.tmp')), ['new']);
  });

  it('lists objects only, and goes on when some vanish', async (t) => {
    const folder = await temporaryFolder(t);
    const store = await openFilesystemStore(folder);
    const names = Array.from({ length: 300 }, (_, index) => `x/${1000 + index}`);
    await mapBounded(names, 16, (name) => store.put(name, Buffer.from('a')));
    await files.mkdir(join(folder, 'lost+found'));
    await files.writeFile(join(folder, 'x/README'), 'not ours');
    const listed: string[] = [];
    for await (const { name } of store.list('')) {
      if (listed.push(name) === 1) await mapBounded(names.slice(200), 16, (n) => store.delete(n));
    }
    assert.deepEqual(listed, names.slice(0, 200));
    await files.rm(folder, { recursive: true });
    // Not an empty list: that would be all objects lost.
    await failsWith('store-unavailable', listAll(store, ''));
    await failsWith('store-unavailable', listAll(store, 'x/'));
  });

  it('says that a file was cut', async (t) => {
    const folder = await temporaryFolder(t);
    const store = await openFilesystemStore(folder);
    await store.put('a', Buffer.alloc(1000));
    await files.truncate(join(folder, 'a'), 500);
    await failsWith('range-invalid', store.getRange('a', { offset: 0, length: 1000 }));
    await store.close();
  });

  it('keeps few files open however many are read', async (t) => {
    const store = await openFilesystemStore(await temporaryFolder(t));
    const names = Array.from({ length: 60 }, (_, index) => `x/${index}`);
    await mapBounded(names, 8, (name) => store.put(name, Buffer.from(name)));
    const before = (await files.readdir('/proc/self/fd')).length;
    await mapBounded([...names, ...names], 8, async (name) => {
      const range = { offset: 0, length: name.length };
      assert.equal((await store.getRange(name, range)).toString(), name);
    });
    const after = (await files.readdir('/proc/self/fd')).length;
    assert.ok(after - before <= 17, `${after - before} more files are open`);
    await store.close();
    assert.ok((await files.readdir('/proc/self/fd')).length <= before);
  });

  it('maps failed system calls', async (t) => {
    const folder = await temporaryFolder(t);
    const cases = [
      ['ENOSPC', 'store-full'],
      ['EDQUOT', 'store-full'],
      ['EROFS', 'store-read-only'],
      ['EACCES', 'store-denied'],
      ['EPERM', 'store-denied'],
      ['EIO', 'store-failed'],
      ['ESTALE', 'store-failed'],
      ['ENOTCONN', 'store-failed'],
      ['ENOTSUP', 'store-unsupported'],
      ['ENOSYS', 'store-unsupported'],
      ['ETIMEDOUT', 'store-unavailable'],
    ] as const;
    for (const [reason, code] of cases) {
      const calls = { ...files, open: failWith(reason) };
      await failsWith(
        code,
        (await openFilesystemStore(folder, { calls })).put('a', Buffer.alloc(1)),
      );
    }
    const store = await openFilesystemStore(folder);
    await store.put('a', Buffer.alloc(1));
    await failsWith('object-name-invalid', store.put('a/b', Buffer.alloc(1)));
    await failsWith('object-name-invalid', store.put('x'.repeat(300), Buffer.alloc(1)));
  });
});

describe('filesystem on a volume of its own', { skip: notRoot() }, () => {
  it('says that it is full, and goes on when space is back', async (t) => {
    const store = await openFilesystemStore(await mounted(t, 'size=8m'));
    await store.put('a', Buffer.alloc(4_000_000, 1));
    await failsWith('store-full', store.put('b', Buffer.alloc(6_000_000, 2)));
    assert.equal(await store.stat('b'), undefined);
    assert.equal((await store.get('a', ANY_SIZE)).length, 4_000_000);
    await store.delete('a');
    await store.put('b', Buffer.alloc(6_000_000, 2));
    await store.close();
  });

  it('says that it is read-only, and reads', async (t) => {
    const folder = await mounted(t, 'size=8m');
    const store = await openFilesystemStore(folder);
    await store.put('a', Buffer.from('a'));
    await execute('mount', ['-o', 'remount,ro', folder]);
    const readOnly = await openFilesystemStore(folder);
    assert.equal((await readOnly.get('a', ANY_SIZE)).toString(), 'a');
    await failsWith('store-read-only', readOnly.put('b', Buffer.alloc(1)));
    await failsWith('store-read-only', readOnly.delete('a'));
    await failsWith('store-read-only', openFilesystemStore(join(folder, 'c'), { create: true }));
    await Promise.all([store.close(), readOnly.close()]);
  });
});

/** Mounting needs root: without it these tests are skipped, and say so. */
function notRoot(): string | false {
  return process.getuid?.() === 0 ? false : 'NOT RUN: mounting a volume needs root';
}

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await files.mkdtemp(join(tmpdir(), 'coffer-'));
  t.after(() => files.rm(folder, { recursive: true, force: true }));
  return folder;
}

async function mounted(t: TestContext, options: string): Promise<string> {
  const folder = await files.mkdtemp(join(tmpdir(), 'coffer-'));
  await execute('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder]);
  t.after(async () => {
    await execute('umount', ['--lazy', folder]);
    await files.rmdir(folder);
  });
  return folder;
}

async function listFolder(folder: string): Promise<string[]> {
  return await files.readdir(folder).catch(() => []);
}

/** A system call that fails. */
function failWith(code: string): () => Promise<never> {
  return () => Promise.reject(systemError(code));
}

function systemError(code: string): Error {
  return Object.assign(new Error(`simulated ${code}`), { code });
}

/** System calls that write down what they did, with paths below `root` and `*` for random names. */
function recorded(root: string) {
  const events: string[] = [];
  const note = (what: string, path: string) => {
    const relative = path.slice(root.length + 1).replace(/(\.tmp\/|\.try-).*$/, '$1*');
    events.push(`${what} ${relative}`);
  };
  const calls = {
    root,
    open: async (path: string, ...rest: [string?, number?]) => {
      const handle = await files.open(path, ...rest);
      const sync = handle.sync.bind(handle);
      const write = handle.write.bind(handle);
      handle.sync = async () => {
        await sync();
        note('sync', path);
      };
      handle.write = (async (...args: Parameters<typeof write>) => {
        note('write', path);
        return await write(...args);
      }) as typeof write;
      return handle;
    },
    mkdir: async (path: string, options: object) => {
      await files.mkdir(path, options);
      note('mkdir', path);
    },
    link: async (from: string, to: string) => {
      await files.link(from, to);
      note('link', to);
    },
    unlink: async (path: string) => {
      await files.unlink(path);
      note('unlink', path);
    },
  } as FileCalls & { readonly root: string };
  return { calls, events };
}
