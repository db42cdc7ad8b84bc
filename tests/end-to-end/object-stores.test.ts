/** The whole way over real object stores: init, backup, restore, remove, gc, verify and copy. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { startAzuriteServer } from '@coffer/storage/testing/azurite-server.ts';
import { startS3Server } from '@coffer/storage/testing/s3-server.ts';
import { Sandbox } from './testing/sandbox.ts';

interface StoreServer {
  readonly repo: string;
  readonly env: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

async function check(server: StoreServer): Promise<void> {
  using sandbox = new Sandbox();
  const env = { ...server.env, COFFER_REPO: server.repo };
  const run = async <T>(...words: string[]): Promise<T> => await sandbox.json<T>(words, 0, { env });
  const large = randomBytes(40_000_000);
  const source = sandbox.source({ large, 'folder/small': 'small', gone: randomBytes(5_000_000) });
  await run('init');
  const first = await run<{ point: string }>('backup', source, '--item', 'files');
  const second = await run<{ bytesRead: number }>('backup', source, '--item', 'files');
  assert.equal(second.bytesRead, 0, 'what has not changed is not read');
  await run('restore', 'files@latest', '--to', sandbox.path('target'), '--verify');
  assert.ok(readFileSync(sandbox.path('target/large')).equals(large));
  await run('remove', first.point);
  await run('gc');
  const verified = await run<{ findings: unknown[]; points: number }>('verify', '--read-data');
  assert.deepEqual([verified.points, verified.findings], [1, []]);
  await run('init', '--repo', `${server.repo}-second`, '--keys-from', server.repo);
  await run('copy', '--from', server.repo, '--to', `${server.repo}-second`);
  const copied = await run<unknown[]>('points', '--repo', `${server.repo}-second`);
  assert.equal(copied.length, 1);
}

test('a repository in S3', async () => {
  const server = await startS3Server();
  try {
    await server.createBucket('backups');
    await check({ ...server, repo: 's3://backups/coffer', env: server.environment });
  } finally {
    await server.stop();
  }
});

test('a repository in Azure Blob', async () => {
  const server = await startAzuriteServer();
  try {
    await server.createContainer('backups');
    const repo = `azure://${server.account}/backups/coffer`;
    await check({ ...server, repo, env: server.environment });
  } finally {
    await server.stop();
  }
});
