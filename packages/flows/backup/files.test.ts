import assert from 'node:assert/strict';
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { CofferError, type Finding, collecting } from '@coffer/base';
import { testRun } from '@coffer/base/testing/run.ts';
import { openRawDisk } from '@coffer/disk/raw.ts';
import { FILES_ROOT_NAME, type RecoveryPoint, type UnlockedRepository } from '@coffer/repository';
import { TestRepository } from '@coffer/repository/testing/test-repository.ts';
import { SourceFolder } from '@coffer/workloads/files/source-folder.ts';
import { restore } from '../restore/restore.ts';
import { backup } from './backup.ts';
import { backupFiles } from './files.ts';
import { makePoints } from './run.ts';

const base = mkdtempSync(join(tmpdir(), 'coffer-files-'));
after(() => rmSync(base, { recursive: true }));
let folders = 0;

function newFolder(): string {
  const path = join(base, String(folders++));
  mkdirSync(path);
  return path;
}

interface Walked {
  readonly point: RecoveryPoint;
  readonly findings: readonly Finding[];
}

/** The walk tells of each path after it has looked at it, and before it reads it or leaves it out. */
async function walked(
  repository: UnlockedRepository,
  path: string,
  onPath: (relative: string) => unknown,
): Promise<Walked> {
  const { run, findings } = collecting(testRun());
  const [made] = await makePoints(run, { repository, tags: {} }, async function* ({ session }) {
    const folder = SourceFolder.root(Buffer.from(path));
    const { root, bytesSource, bytesRead } = await backupFiles(run, folder, {
      parentRoot: undefined,
      writeNode: (children, body) => session.writer.writeNode(children, body),
      session,
      reader: repository.reader(),
      slabCount: 1,
      isExcluded: (relative) => {
        return onPath(relative.bytes.toString()) === 'leave-out';
      },
      oneFileSystem: false,
      parentTakenAt: 0,
      leftOut: undefined,
      isStored: (id) => session.writer.isStored(id),
    });
    folder.close();
    const roots = [{ name: FILES_ROOT_NAME, root: root.toString('hex'), sizeBytes: bytesSource }];
    const described = { item: 'item', kind: 'files', sourcePath: path } as const;
    yield { ...described, roots, bytesRead, findings, manifest: {} };
  });
  return { point: (await repository.points()).find(({ id }) => id === made!.point)!, findings };
}

async function restored(repository: UnlockedRepository, point: RecoveryPoint): Promise<string> {
  const target = newFolder();
  const whole = { path: '', conflict: undefined, include: [], dryRun: false, verify: false };
  await restore(testRun(), { ...whole, repository, point, target });
  return target;
}

test('a file that is written to between two of its names is read for both, and told', async () => {
  await using repositories = await TestRepository.create();
  const repository = await repositories.host();
  const folder = newFolder();
  writeFileSync(join(folder, 'a'), 'old');
  linkSync(join(folder, 'a'), join(folder, 'z'));
  writeFileSync(join(folder, 'm'), 'other');
  const { point, findings } = await walked(repository, folder, (relative) => {
    if (relative === 'm') writeFileSync(join(folder, 'z'), 'new');
  });
  assert.deepEqual(
    findings.map(({ code, subject }) => `${code} ${subject.name}`),
    ['changed a'],
  );
  const target = await restored(repository, point);
  assert.equal(readFileSync(join(target, 'a'), 'utf8'), 'new');
  assert.equal(readFileSync(join(target, 'z'), 'utf8'), 'new');
});

test('names of a file that does not change are names of one file', async () => {
  await using repositories = await TestRepository.create();
  const repository = await repositories.host();
  const folder = newFolder();
  writeFileSync(join(folder, 'a'), 'same');
  linkSync(join(folder, 'a'), join(folder, 'z'));
  const { point } = await walked(repository, folder, () => {});
  const target = await restored(repository, point);
  assert.equal(statSync(join(target, 'a')).ino, statSync(join(target, 'z')).ino);
});

test('who writes while a file is read is seen, also when the time is set back', async () => {
  await using repositories = await TestRepository.create();
  const folder = newFolder();
  const path = join(folder, 'file');
  writeFileSync(path, 'AAAA');
  utimesSync(path, 1000, 1000);
  const { findings } = await walked(await repositories.host(), folder, () => {
    writeFileSync(path, 'BBBB');
    utimesSync(path, 1000, 1000);
  });
  assert.deepEqual(
    findings.map(({ code }) => code),
    ['changed'],
  );
});

test('another file that takes a name meanwhile is not protected as the first one', async () => {
  await using repositories = await TestRepository.create();
  const repository = await repositories.host();
  const folder = newFolder();
  writeFileSync(join(folder, 'file'), 'of somebody', { mode: 0o644 });
  writeFileSync(join(base, 'secret'), 'of root', { mode: 0o600 });
  const { point, findings } = await walked(repository, folder, () => {
    renameSync(join(base, 'secret'), join(folder, 'file'));
  });
  assert.deepEqual(findings, []);
  const file = join(await restored(repository, point), 'file');
  assert.equal(readFileSync(file, 'utf8'), 'of root');
  assert.equal(statSync(file).mode & 0o777, 0o600, 'with the rights that it has itself');
});

test('a large file that is replaced before its turn comes is the new one', async () => {
  await using repositories = await TestRepository.create();
  const repository = await repositories.host();
  const folder = newFolder();
  const [before, now] = [Buffer.alloc(3_000_000, 1), Buffer.alloc(2_000_000, 2)];
  writeFileSync(join(folder, 'file'), before);
  writeFileSync(join(base, 'saved'), now);
  const { point, findings } = await walked(repository, folder, () => {
    renameSync(join(base, 'saved'), join(folder, 'file'));
  });
  assert.deepEqual(findings, []);
  const target = await restored(repository, point);
  assert.ok(readFileSync(join(target, 'file')).equals(now));
});

test('what says that it is empty and is not is protected with its content', async () => {
  await using repositories = await TestRepository.create();
  const repository = await repositories.host();
  const small = ['version', 'filesystems'];
  for (const name of small) assert.equal(statSync(join('/proc', name)).size, 0, name);
  // Eight bytes for each page of memory: more than is read at once.
  const wanted = [...small, 'kpageflags'];
  const { point, findings } = await walked(repository, '/proc', (name) =>
    wanted.includes(name) ? undefined : 'leave-out',
  );
  const told = findings.map(({ code, subject }) => `${code} ${subject.name}`);
  assert.deepEqual(told, ['unreadable kpageflags']);
  const target = await restored(repository, point);
  assert.deepEqual(readdirSync(target).sort(), small.sort());
  for (const name of small) {
    assert.equal(readFileSync(join(target, name), 'utf8'), readFileSync(`/proc/${name}`, 'utf8'));
  }
});

test('a store that does not answer is no file that cannot be read', async () => {
  await using repositories = await TestRepository.create();
  const repository = await repositories.host();
  const folder = newFolder();
  writeFileSync(join(folder, 'file'), 'content');
  await assert.rejects(
    walked(repository, folder, () => {
      throw new CofferError('store-unavailable');
    }),
    { code: 'store-unavailable' },
  );
});

test('an image that is written to or cut while it is read is told', async () => {
  await using repositories = await TestRepository.create();
  const repository = await repositories.host();
  const path = join(newFolder(), 'disk.raw');
  writeFileSync(path, Buffer.alloc(1024 * 1024, 1));
  truncateSync(path, 2 * 1024 * 1024);
  const protect = async (change: () => void) => {
    const disk = await openRawDisk(path);
    let isChanged = false;
    const read: typeof disk.read = async (offset, target) => {
      await disk.read(offset, target);
      if (!isChanged) change();
      isChanged = true;
    };
    const { sizeBytes } = disk;
    const watched = {
      sizeBytes,
      read,
      extents: disk.extents.bind(disk),
      close: () => disk.close(),
    };
    const source = { kind: 'disk', path, disk: watched } as const;
    const options = { repository, item: 'disk', tags: {} };
    try {
      return await backup(testRun(), { ...options, source });
    } finally {
      await disk.close();
    }
  };
  assert.deepEqual((await protect(() => {})).findings, []);
  const { findings } = await protect(() => writeFileSync(path, 'x', { flag: 'r+' }));
  assert.deepEqual(
    findings.map(({ code }) => code),
    ['changed'],
  );
  const disk = await openRawDisk(path);
  truncateSync(path, 10);
  await assert.rejects(Array.fromAsync(disk.extents()), { code: 'source-changed' });
  await disk.close();
});
