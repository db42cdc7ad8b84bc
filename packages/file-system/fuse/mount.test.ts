// Needs Linux with FUSE, and the Debian packages fuse3, attr and util-linux. The kernel is the judge.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { isCofferError, seededRandom } from '@coffer/base';
import { openRawDisk } from '@coffer/disk/raw.ts';
import type { FileSystem } from '../file-system.ts';
import { diskFolder } from './disk-folder.ts';
import { type Mount, type MountOptions, mountFileSystem } from './mount.ts';
import { memoryFileSystem, memoryNode, type MemoryNode } from './testing/memory-file-system.ts';

const run = promisify(execFile);
const temporary = mkdtempSync(join(tmpdir(), 'coffer-fuse-'));
after(() => rmSync(temporary, { recursive: true }));
let folderCount = 0;

async function newFolder(): Promise<string> {
  const folder = join(temporary, `folder ${folderCount++}`);
  await mkdir(folder);
  return folder;
}

async function mounted(
  children: readonly MemoryNode[],
  use: (folder: string, mount: Mount) => Promise<void>,
  options: Partial<MountOptions> = {},
): Promise<void> {
  await served(memoryFileSystem(children), use, options);
}

async function served<Node extends MemoryNode>(
  fileSystem: FileSystem<Node>,
  use: (folder: string, mount: Mount) => Promise<void>,
  options: Partial<MountOptions> = {},
): Promise<void> {
  const mount = await mountFileSystem(fileSystem, await newFolder(), { name: 'test', ...options });
  try {
    await use(mount.folder, mount);
  } finally {
    await mount.unmount();
  }
  assert.equal(isMounted(mount.folder), false);
}

function isMounted(folder: string): boolean {
  return readFileSync('/proc/self/mounts', 'utf8').includes(folder.replaceAll(' ', '\\040'));
}

async function sh(script: string, folder: string): Promise<string> {
  return (await run('sh', ['-euc', script, 'sh', folder], { encoding: 'utf8' })).stdout;
}

/** Names in a folder, as another process sees them; this one must not use its own mounts. */
async function namesIn(folder: string): Promise<string[]> {
  return (await sh('ls -1U "$1"', folder)).split('\n').slice(0, -1);
}

async function vanishes(folder: string): Promise<void> {
  while (isMounted(folder)) await new Promise((resolve) => setTimeout(resolve, 25));
}

test('programs see names, types, times, links and attributes as they are', async () => {
  const link = { device: 3n, inode: 77n };
  const children = [
    memoryNode('text', { content: Buffer.from('hello'), mode: 0o4755 }),
    memoryNode('old', { modifiedNs: -1_500_000_000n, userId: 1234, groupId: 4321, mode: 0o600 }),
    memoryNode('to', { type: 'symlink', linkTarget: Buffer.from('folder/deep') }),
    memoryNode('pipe', { type: 'fifo' }),
    memoryNode('null', { type: 'character-device', deviceNumber: 0x103n }),
    memoryNode('one', { hardLink: link, content: Buffer.from('same') }),
    memoryNode('two', { hardLink: link, content: Buffer.from('same') }),
    memoryNode('other', { hardLink: { device: 4n, inode: 77n } }),
    memoryNode('folder', { children: [memoryNode('deep', { content: Buffer.from('below') })] }),
  ];
  await mounted(children, async (folder) => {
    const listing = await sh('cd "$1"; stat -c "%n %A %u %g %s %h %.Y %t:%T" -- *', folder);
    const user = `${process.getuid?.()} ${process.getgid?.()}`;
    assert.deepEqual(listing.trim().split('\n').sort(), [
      `folder drwxr-xr-x ${user} 0 1 1600000000.123456789 0:0`,
      `null crw-r--r-- ${user} 0 1 1600000000.123456789 1:3`,
      'old -rw------- 1234 4321 0 1 -1.500000000 0:0',
      `one -rw-r--r-- ${user} 4 2 1600000000.123456789 0:0`,
      `other -rw-r--r-- ${user} 0 2 1600000000.123456789 0:0`,
      `pipe prw-r--r-- ${user} 0 1 1600000000.123456789 0:0`,
      `text -rwsr-xr-x ${user} 5 1 1600000000.123456789 0:0`,
      `to lrw-r--r-- ${user} 11 1 1600000000.123456789 0:0`,
      `two -rw-r--r-- ${user} 4 2 1600000000.123456789 0:0`,
    ]);
    assert.equal(await sh('cat "$1/text" "$1/to" "$1/two"', folder), 'hellobelowsame');
    assert.equal(await sh('readlink "$1/to"', folder), 'folder/deep\n');
    assert.equal(await sh('cd "$1"; find . -samefile one | sort', folder), './one\n./two\n');
    assert.match(await sh('ls -laR "$1"', folder), /\.\.\n[^]*folder:\n[^]*deep\n/);
    assert.equal(await sh('test -e "$1/missing" || echo none', folder), 'none\n');
    assert.match(await sh('findmnt -n -o SOURCE,FSTYPE "$1"', folder), /^test +fuse\.coffer\n$/);
  });
});

test('names need not be UTF-8, and may be 255 bytes long', async () => {
  const strange = Buffer.from([0x66, 0xff, 0xfe, 0x0a, 0x20]);
  const children = [
    memoryNode(strange, { content: Buffer.from('x') }),
    memoryNode('n'.repeat(255)),
  ];
  await mounted(children, async (folder) => {
    const { stdout } = await run('find', [folder, '-mindepth', '1', '-printf', '%f\\0'], {
      encoding: 'buffer',
    });
    const zero = Buffer.alloc(1);
    assert.deepEqual(stdout, Buffer.concat([strange, zero, Buffer.from('n'.repeat(255)), zero]));
    assert.equal(await sh('cat "$1"/f*', folder), 'x');
  });
});

test('names that no folder can have are left out', async () => {
  const children = ['a/b', '..', '', 'n'.repeat(1025), 'good'].map((name) => memoryNode(name));
  await mounted(children, async (folder) => assert.deepEqual(await namesIn(folder), ['good']));
});

test('contents are read in order and at random places', async () => {
  const content = seededRandom(1).bytes(20_000_001);
  const children = [memoryNode('big', { content }), memoryNode('empty')];
  await mounted(children, async (folder) => {
    const copy = join(temporary, 'copy');
    await writeFile(copy, content);
    await sh(`cmp "$1/big" "${copy}"; cmp "$1/empty" /dev/null`, folder);
    const script = `
      srand 2; open A, "<:raw", $ARGV[0]; open B, "<:raw", $ARGV[1];
      for (1..200) {
        my ($at, $size) = (int rand(20000011), int rand(300000));
        sysseek A, $at, 0; sysseek B, $at, 0; sysread A, $a, $size; sysread B, $b, $size;
        die "differs at $at" if $a ne $b;
      }`;
    await run('perl', ['-e', script, join(folder, 'big'), copy]);
    await sh(`dd if="$1/big" iflag=direct bs=1M status=none | cmp - "${copy}"`, folder);
  });
});

test('a folder of 5,000 names is listed whole, by all who list it at once', async () => {
  const children = Array.from({ length: 5000 }, (_, index) => memoryNode(`name ${index}`));
  await mounted([memoryNode('many', { children })], async (folder) => {
    const counts = await Promise.all(
      Array.from(
        { length: 4 },
        async () => await sh('find "$1" -type f | sort -u | wc -l', folder),
      ),
    );
    assert.deepEqual(counts.map(Number), [5000, 5000, 5000, 5000]);
    const script = 'opendir(D,$ARGV[0]);@a=readdir D;rewinddir D;@b=readdir D;print "@a" eq "@b"';
    const { stdout } = await run('perl', ['-e', script, join(folder, 'many')]);
    assert.equal(stdout, '1');
  });
});

test('extended attributes are listed and read', async () => {
  const extendedAttributes = [
    { name: Buffer.from('user.empty'), value: Buffer.alloc(0) },
    { name: Buffer.from('user.word'), value: Buffer.from('value') },
  ];
  await mounted([memoryNode('file', { extendedAttributes })], async (folder) => {
    const dump = await sh('cd "$1"; getfattr -d file', folder);
    assert.equal(dump, '# file: file\nuser.empty=""\nuser.word="value"\n\n');
    await assert.rejects(
      run('getfattr', ['-n', 'user.none', join(folder, 'file')]),
      /No such attr/,
    );
  });
});

test('nothing can be written', async () => {
  const children = [memoryNode('file', { content: Buffer.from('x') })];
  await mounted(children, async (folder) => {
    for (const script of [
      'echo y >"$1/file"',
      'touch "$1/new"',
      'mkdir "$1/new"',
      'rm -f "$1/file"',
      'mv "$1/file" "$1/moved"',
      'ln "$1/file" "$1/link"',
      'ln -s file "$1/link"',
      'chmod 600 "$1/file"',
      'truncate -s 0 "$1/file"',
      'setfattr -n user.a -v b "$1/file"',
    ]) {
      await assert.rejects(sh(`LC_ALL=C; export LC_ALL; ${script}`, folder), /Read-only file/);
    }
  });
});

test('failures of the file system are EIO for who reads, and are reported', async () => {
  const errors: unknown[] = [];
  const children = [
    memoryNode('file', { content: Buffer.from('x'), isBroken: true }),
    memoryNode('folder', { children: [], isBroken: true }),
    memoryNode('good', { content: Buffer.from('good') }),
  ];
  await mounted(
    children,
    async (folder) => {
      await assert.rejects(sh('LC_ALL=C cat "$1/file"', folder), /Input\/output error/);
      await assert.rejects(sh('LC_ALL=C ls "$1/folder"', folder), /Input\/output error/);
      assert.equal(await sh('cat "$1/good"', folder), 'good');
    },
    { onError: (error) => errors.push(error) },
  );
  assert.ok(errors.length >= 2 && errors.every((error) => isCofferError(error)));
});

/** A file system whose reads never end, and when the first has begun. */
function stuckFileSystem(): { fileSystem: FileSystem<MemoryNode>; asked: Promise<void> } {
  const asked = Promise.withResolvers<void>();
  const read = async (): Promise<number> => {
    asked.resolve();
    return await new Promise<number>(() => {});
  };
  const content = Buffer.alloc(100);
  const fileSystem = { ...memoryFileSystem([memoryNode('file', { content })]), read };
  return { fileSystem, asked: asked.promise };
}

test('it unmounts while files are open, and ends who waits for a read', async () => {
  const { fileSystem, asked } = stuckFileSystem();
  const mount = await mountFileSystem(fileSystem, await newFolder(), { name: 'test' });
  const reading = assert.rejects(
    sh('LC_ALL=C cat "$1/file"', mount.folder),
    /not connected|caused conn/,
  );
  await asked;
  await mount.unmount();
  await mount.ended;
  await reading;
  assert.equal(isMounted(mount.folder), false);
  await mount.unmount();
});

test('who is interrupted does not wait for a read', async () => {
  const { fileSystem, asked } = stuckFileSystem();
  await served(fileSystem, async (folder) => {
    const reader = spawn('cat', [join(folder, 'file')], { stdio: 'ignore' });
    await asked;
    reader.kill('SIGKILL');
    await once(reader, 'exit');
  });
});

test('it ends when someone else unmounts it, and when it is told to by a signal', async () => {
  const children = [memoryNode('file')];
  const mount = await mountFileSystem(memoryFileSystem(children), await newFolder(), { name: 'a' });
  await run('fusermount3', ['-u', mount.folder]);
  await mount.ended;
  await mount.unmount();

  const abort = new AbortController();
  const options = { name: 'b', signal: abort.signal };
  const other = await mountFileSystem(memoryFileSystem(children), await newFolder(), options);
  abort.abort();
  await other.ended;
  assert.equal(isMounted(other.folder), false);
});

for (const userName of ['root', 'nobody']) {
  test(`the mount vanishes when the process that serves it is killed (${userName})`, async () => {
    assert.equal(process.getuid?.(), 0, 'this test starts programs as another user');
    const folder = await newFolder();
    const userId = Number((await run('id', ['-u', userName])).stdout);
    const groupId = Number((await run('id', ['-g', userName])).stdout);
    await chmod(temporary, 0o755);
    await chown(folder, userId, groupId);
    const user = { uid: userId, gid: groupId };
    const serve = join(import.meta.dirname, 'testing/serve.ts');
    const child = spawn(process.execPath, [serve, folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
      ...user,
    });
    try {
      await once(child.stdout, 'data');
      const { stdout } = await run('cat', [join(folder, 'file')], user);
      assert.equal(stdout, 'served');
      // One that has a file open must not keep the mount.
      const script = 'exec 5<"$1/file"; echo; exec sleep infinity';
      const holder = spawn('sh', ['-euc', script, 'sh', folder], { ...user, stdio: 'pipe' });
      await once(holder.stdout, 'data');
      child.kill('SIGKILL');
      await vanishes(folder);
      holder.kill();
    } finally {
      child.kill('SIGKILL');
    }
  });
}

test('folders that cannot be mounted on are refused', async () => {
  const fileSystem = memoryFileSystem([]);
  const full = await newFolder();
  await writeFile(join(full, 'file'), '');
  const refused = (error: unknown): boolean => isCofferError(error, 'mount-failed');
  for (const folder of [full, join(full, 'file'), join(full, 'missing')]) {
    await assert.rejects(mountFileSystem(fileSystem, folder, { name: 'test' }), refused);
  }
  const path = process.env['PATH'];
  process.env['PATH'] = full;
  try {
    await assert.rejects(
      mountFileSystem(fileSystem, await newFolder(), { name: 'test' }),
      (error) => isCofferError(error, 'tool-missing'),
    );
  } finally {
    process.env['PATH'] = path;
  }
});

test('disks are shown as raw files', async () => {
  const path = join(temporary, 'disk image');
  await writeFile(path, seededRandom(3).bytes(3_000_000));
  const disk = await openRawDisk(path);
  const disks = diskFolder([
    { name: 'sda', disk },
    { name: 'sdb', disk },
  ]);
  const mount = await mountFileSystem(disks, await newFolder(), { name: 'disks' });
  try {
    assert.deepEqual(await namesIn(mount.folder), ['sda.raw', 'sdb.raw']);
    await sh(`cmp "$1/sda.raw" "${path}"; cmp "$1/sdb.raw" "${path}"`, mount.folder);
  } finally {
    await mount.unmount();
    await disks.close();
  }
  assert.throws(() => diskFolder([{ name: 'a/b', disk }]), /a\/b/);
});
