// Sources and targets that are not ext4: what they hold is protected, and what they can keep is restored.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setAttribute } from '@coffer/base/libc.ts';
import { type Backup, type Restore, Sandbox } from './testing/sandbox.ts';

const run = (program: string, ...words: string[]): string =>
  execFileSync(program, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();

/** A file system in a file of the sandbox, mounted until it is disposed of. */
class Mounted implements Disposable {
  readonly path: string;
  #device: string | undefined;

  constructor(sandbox: Sandbox, kind: 'exfat' | 'ntfs' | 'xfs') {
    this.path = sandbox.path(kind);
    mkdirSync(this.path);
    const image = sandbox.path(`${kind}.image`);
    writeFileSync(image, '');
    truncateSync(image, 320 * 1024 * 1024);
    if (kind === 'ntfs') run('mkntfs', '--quick', '--force', image);
    else run(`mkfs.${kind}`, image);
    if (kind === 'ntfs') run('ntfs-3g', image, this.path);
    else if (kind === 'xfs') run('mount', '-o', 'loop', image, this.path);
    else this.#mountExfat(image);
  }

  #mountExfat(image: string): void {
    this.#device = run('losetup', '--find', '--show', image);
    run('mount.exfat-fuse', this.#device, this.path);
  }

  [Symbol.dispose](): void {
    run('umount', this.path);
    if (this.#device !== undefined) run('losetup', '--detach', this.#device);
  }
}

const codesOf = ({ findings }: { readonly findings: readonly { code: string }[] }): string[] => {
  return findings.map(({ code }) => code).sort();
};

test('a target without modes, owners and links gets all content, whatever way it is restored', async () => {
  using sandbox = await Sandbox.withRecoveryKey();
  const large = randomBytes(2_000_000);
  const source = sandbox.source({ small: 'text', large, 'a:b?.txt': 'colon', 'Dir/x': 'upper' });
  mkdirSync(join(source, 'dir'));
  const contents: Record<string, string | Buffer> = { small: 'text', large, 'Dir/x': 'upper' };
  for (const name of ['README', 'readme', 'dir/x']) {
    writeFileSync(join(source, name), name);
  }
  linkSync(join(source, 'large'), join(source, 'large too'));
  symlinkSync('small', join(source, 'link'));
  run('mkfifo', join(source, 'pipe'));
  writeFileSync(Buffer.concat([Buffer.from(`${source}/caf`), Buffer.of(0xe9)]), 'bytes');
  setAttribute(Buffer.from(join(source, 'small')), Buffer.from('user.key'), Buffer.from('value'));
  await sandbox.done('backup', source, '--item', 'files');
  using target = new Mounted(sandbox, 'exfat');
  const out = join(target.path, 'out');
  for (const how of [[], ['--delta'], ['--on-conflict', 'overwrite']]) {
    const words = ['restore', 'files@latest', '--to', out, '--verify', ...how];
    const result = await sandbox.json<Restore>(words, 3);
    assert.ok(result.verified === false, 'links are missing');
    const codes = new Set(codesOf(result));
    for (const code of ['mode', 'link', 'node', 'hard-link', 'name']) {
      assert.ok(codes.has(`${code}-not-restored`), `${code}: ${[...codes].join(' ')}`);
    }
    assert.ok(!codes.has('not-restored') && !codes.has('differs'), [...codes].join(' '));
    assert.equal(codesOf(result).filter((code) => code === 'mode-not-restored').length, 1);
    for (const [name, content] of Object.entries(contents)) {
      assert.deepEqual(readFileSync(join(out, name)), Buffer.from(content), name);
    }
    assert.deepEqual(readFileSync(join(out, 'large too')), large);
    const others = readdirSync(out)
      .filter((name) => name.includes('~'))
      .sort();
    const texts = others.map((name) => {
      return readFileSync(join(out, name.startsWith('dir') ? `${name}/x` : name), 'utf8');
    });
    assert.deepEqual(texts.sort(), ['bytes', 'colon', 'dir/x', 'readme']);
  }
});

test('names of 360 bytes are protected, found and restored', async () => {
  using sandbox = await Sandbox.withRecoveryKey();
  using ntfs = new Mounted(sandbox, 'ntfs');
  const long = `${'文'.repeat(120)}.txt`;
  mkdirSync(join(ntfs.path, 'folder'));
  writeFileSync(join(ntfs.path, 'folder', long), 'long');
  writeFileSync(join(ntfs.path, 'folder/beside'), 'beside');
  assert.deepEqual(
    codesOf(await sandbox.json<Backup>(['backup', ntfs.path, '--item', 'ntfs'])),
    [],
  );
  const listed = await sandbox.done('ls', 'ntfs@latest', '--recursive');
  assert.ok(listed.includes(long));
  assert.equal(await sandbox.done('cat', `ntfs@latest:folder/${long}`), 'long');
  assert.ok((await sandbox.done('find', '文*')).includes(long));
  await sandbox.done('verify', '--read-data');
  const out = sandbox.path('out');
  const words = ['restore', 'ntfs@latest', '--to', out, '--verify'];
  const result = await sandbox.json<Restore>(words, 3);
  assert.deepEqual(codesOf(result), ['name-not-restored']);
  assert.ok(result.verified);
  const [other] = readdirSync(join(out, 'folder')).filter((name) => name !== 'beside');
  assert.match(other!, /^文+~[0-9a-f]{8}\.txt$/);
  assert.equal(readFileSync(join(out, 'folder', other!), 'utf8'), 'long');
  const back = await sandbox.json<Restore>([
    'restore',
    'ntfs@latest',
    '--to',
    join(ntfs.path, 'back'),
  ]);
  assert.deepEqual(codesOf(back), []);
});

test('more attributes than the kernel lists, and more than a point holds, cost no content', async () => {
  using sandbox = await Sandbox.withRecoveryKey();
  using xfs = new Mounted(sandbox, 'xfs');
  for (const name of ['listless', 'large']) writeFileSync(join(xfs.path, name), name);
  mkdirSync(join(xfs.path, 'folder'));
  writeFileSync(join(xfs.path, 'folder/inside'), 'inside');
  const set = (name: string, attribute: string, value: Buffer): void =>
    setAttribute(Buffer.from(join(xfs.path, name)), Buffer.from(`user.${attribute}`), value);
  for (let index = 0; index < 300; index++) {
    for (const name of ['listless', 'folder'])
      set(name, `${'x'.repeat(240)}${index}`, Buffer.of(1));
  }
  for (let index = 0; index < 100; index++) set('large', `x${index}`, randomBytes(65_536));
  const made = await sandbox.json<Backup>(['backup', xfs.path, '--item', 'xfs'], 3);
  assert.deepEqual(codesOf(made), Array(3).fill('attributes-unreadable'));
  const out = sandbox.path('out');
  await sandbox.run(['restore', 'xfs@latest', '--to', out]);
  for (const name of ['listless', 'large', 'folder/inside']) assert.ok(existsSync(join(out, name)));
  await sandbox.done('verify', '--read-data');
});

test('times that no calendar shows are protected, shown and restored', async () => {
  using sandbox = await Sandbox.withRecoveryKey();
  const source = sandbox.path('source');
  mkdirSync(source);
  // The file systems of a disk end at some time; that of the memory does not.
  run('mount', '-t', 'tmpfs', 'tmpfs', source);
  try {
    const times = ['@67767976233529199', '@-67768040609740800', '@9300000000', '@-9300000000'];
    for (const [index, time] of times.entries()) {
      writeFileSync(join(source, String(index)), 'x');
      run('touch', '-d', time, join(source, String(index)));
    }
    run('touch', '-d', times[0]!, source);
    await sandbox.done('backup', source, '--item', 'times');
    for (const words of [['ls'], ['ls', '--json']]) await sandbox.done(...words, 'times@latest');
    for (const words of [[], ['--json']]) await sandbox.done('find', '*', ...words);
    await sandbox.done('verify', '--read-data');
    await sandbox.done('restore', 'times@latest', '--to', join(source, 'out'), '--verify');
    for (const [index, time] of times.entries()) {
      assert.equal(`@${run('stat', '-c', '%Y', join(source, 'out', String(index)))}`, time);
    }
    const other = await sandbox.json<Restore>(
      ['restore', 'times@latest', '--to', sandbox.path('out'), '--verify'],
      3,
    );
    assert.deepEqual(codesOf(other), ['time-not-restored']);
  } finally {
    run('umount', source);
  }
});

test('files that are too large to be told, and sums of such, do not end the run', async () => {
  using sandbox = await Sandbox.withRecoveryKey();
  const source = sandbox.path('source');
  mkdirSync(source);
  run('mount', '-t', 'tmpfs', 'tmpfs', source);
  try {
    for (const [name, size] of [
      ['a', '5P'],
      ['b', '5P'],
      ['huge', '7E'],
      ['file', '3'],
    ] as const) {
      run('truncate', '-s', size, join(source, name));
    }
    const made = await sandbox.json<Backup>(['backup', source, '--item', 'huge'], 3);
    assert.deepEqual(codesOf(made), ['unstorable']);
    assert.match(await sandbox.done('ls', 'huge@latest'), /5629499534213120 .* a\n/);
    await sandbox.done('verify');
  } finally {
    run('umount', source);
  }
});

test('folders deeper than a path can say are protected, listed, restored and verified', async () => {
  using sandbox = await Sandbox.withRecoveryKey();
  const source = sandbox.path('source');
  const names = Array.from({ length: 300 }, (_, index) => `${index}-${'d'.repeat(50)}`);
  const script = 'import os,sys\nos.makedirs(sys.argv[1])\nos.chdir(sys.argv[1])\n';
  const descend =
    'for n in sys.argv[2:]:\n os.mkdir(n)\n os.chdir(n)\nopen("bottom","w").write("b")';
  run('python3', '-c', script + descend, source, ...names);
  assert.deepEqual(codesOf(await sandbox.json<Backup>(['backup', source, '--item', 'deep'])), []);
  const out = sandbox.path('out');
  const words = ['restore', 'deep@latest', '--to', out, '--verify'];
  assert.ok((await sandbox.json<Restore>(words)).verified);
  assert.ok((await sandbox.json<Restore>([...words, '--delta'])).verified);
  const bottom = `${names.join('/')}/bottom`;
  assert.equal(await sandbox.done('cat', `deep@latest:${bottom}`), 'b');
  // The path of what is protected, and of the target, may be as long.
  const below = [source, ...names.slice(0, 200)].join('/');
  assert.deepEqual(codesOf(await sandbox.json<Backup>(['backup', below, '--item', 'below'])), []);
  const deepTarget = [sandbox.path('deep'), ...names.slice(0, 150)].join('/');
  await sandbox.done('restore', `deep@latest:${bottom}`, '--to', deepTarget);
  for (const path of [source, out, sandbox.path('deep')]) run('rm', '-rf', path);
});

/** Makes, or compares, `d/d/d/…` with a file at the bottom, and files beside some of the folders. */
const DEEP_TREE = `
import os, sys
what, path, depth, name = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
os.chdir(path)
for level in range(depth):
    if what == 'make': os.mkdir(name)
    os.chdir(name)
for level in range(depth, 0, -1):
    if what == 'make':
        if level % 100 == 0: open('a', 'w').write(str(level)); open('z', 'w').write(str(level))
        os.chmod('.', 0o500 if level % 2 else 0o755)
        os.utime('.', (level, level))
    else:
        if level % 100 == 0: assert open('a').read() == open('z').read() == str(level)
        stats = os.stat('.')
        assert stats.st_mtime == level, 'time'
        assert stats.st_mode & 0o777 == (0o500 if level % 2 else 0o755), 'mode'
    os.chdir('..')
`;

for (const { depth, name } of [
  { depth: 6000, name: 'd' },
  { depth: 2500, name: 'n'.repeat(200) },
]) {
  const title = `${depth} levels of folders with names of ${name.length} bytes come back whole`;
  test(title, async () => {
    using sandbox = await Sandbox.withRecoveryKey();
    const at = sandbox.path('memory');
    mkdirSync(at);
    run('mount', '-t', 'tmpfs', 'tmpfs', at);
    try {
      const [source, out] = [join(at, 'source'), join(at, 'out')];
      mkdirSync(source);
      run('python3', '-c', DEEP_TREE, 'make', source, String(depth), name);
      const made = await sandbox.json<Backup>(['backup', source, '--item', 'deep']);
      assert.deepEqual(codesOf(made), []);
      const words = ['restore', 'deep@latest', '--to', out];
      assert.deepEqual(codesOf(await sandbox.json<Restore>([...words, '--dry-run'])), []);
      const restored = await sandbox.json<Restore>([...words, '--verify']);
      assert.deepEqual(codesOf(restored), []);
      assert.ok(restored.verified);
      run('python3', '-c', DEEP_TREE, 'compare', out, String(depth), name);
      assert.ok((await sandbox.json<Restore>([...words, '--delta', '--verify'])).verified);
    } finally {
      run('umount', at);
    }
  });
}

test('names that are not UTF-8 can be given, and no others are taken for them', async () => {
  using sandbox = await Sandbox.withRecoveryKey();
  const source = Buffer.from(sandbox.source({ other: 'other' }));
  const odd = Buffer.concat([source, Buffer.from('/caf\xe9', 'latin1')]);
  mkdirSync(odd);
  writeFileSync(Buffer.concat([odd, Buffer.from('/file')]), 'precious');
  writeFileSync(Buffer.concat([odd, Buffer.from('/tmp\xff', 'latin1')]), 'excluded');
  // A shell gives bytes as they are; Node does not.
  const shell = async (words: string): Promise<number | null> => {
    const script = `cd '${sandbox.path()}' && e=$(printf '\\351') f=$(printf '\\377') && ${words}`;
    return (await sandbox.shell(script)).code;
  };
  assert.equal(await shell('coffer backup "source/caf$e" --item odd --exclude "tmp$f"'), 0);
  assert.equal(await shell('cd "source/caf$e" && coffer backup . --item inside'), 0);
  assert.equal(await shell('coffer backup source --item all'), 0);
  assert.equal(await shell('test "$(coffer cat "all@latest:caf$e/file")" = precious'), 0);
  assert.equal(await shell('coffer restore odd@latest --to "to$e" && cat "to$e/file"'), 0);
  assert.equal(await shell('test ! -e "to$e/tmp$f"'), 0);
  assert.equal(await shell('coffer init --repo "repo$e"'), 2);
  assert.equal(await shell('truncate -s 1M raw && coffer backup raw --disk --item raw'), 0);
  assert.equal(await shell('coffer restore raw@latest --to "image$e"'), 2);
});

test('folders and files of ours that are read-only are opened for the restore, and closed again', async () => {
  using sandbox = await Sandbox.withRecoveryKey();
  const source = sandbox.source({ 'module/lost': 'first', 'module/kept': 'second' });
  chmodSync(join(source, 'module/kept'), 0o444);
  chmodSync(join(source, 'module'), 0o555);
  await sandbox.done('backup', source, '--item', 'modules');
  const out = sandbox.path('out');
  await sandbox.done('restore', 'modules@latest', '--to', out);
  const drop =
    'setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-dac_override,-dac_read_search';
  for (const how of ['--on-conflict overwrite', '--delta', '--on-conflict skip']) {
    chmodSync(join(out, 'module'), 0o755);
    rmSync(join(out, 'module/lost'));
    if (!how.includes('skip')) {
      chmodSync(join(out, 'module/kept'), 0o644);
      writeFileSync(join(out, 'module/kept'), 'SECOND');
    }
    for (const [name, mode] of [
      ['module/kept', 0o444],
      ['module', 0o555],
    ] as const) {
      chmodSync(join(out, name), mode);
    }
    const { code } = await sandbox.shell(
      `${drop} coffer restore modules@latest --to ${out} ${how}`,
    );
    assert.equal(code, 0, how);
    assert.equal(readFileSync(join(out, 'module/lost'), 'utf8'), 'first', how);
    assert.equal(readFileSync(join(out, 'module/kept'), 'utf8'), 'second', how);
    assert.equal(statSync(join(out, 'module')).mode & 0o7777, 0o555, how);
    assert.equal(statSync(join(out, 'module/kept')).mode & 0o7777, 0o444, how);
  }
});
