/**
 * A real S3 server for tests: Ceph's RGW over one monitor and one storage daemon that holds its
 * objects in memory. It starts in about a second, needs no root, no network and no manager daemon.
 *
 * Ceph decides a create-only put in the storage daemon, within the write itself, so of many at once
 * exactly one wins; small S3 imitations look first and write then.
 */
import { type ChildProcess, execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { S3ClientConfig } from '@aws-sdk/client-s3';
import type { S3Access } from '../access.ts';
import { endProcess, freePorts, startProcess, waitForPort } from './server-process.ts';

export interface S3Server {
  readonly endpoint: string;
  /** For clients in this process that are none of ours. */
  readonly client: S3ClientConfig;
  /** For stores in this process. */
  readonly access: Extract<S3Access, { form: 'keys' }>;
  /** For programs that read the usual environment. */
  readonly environment: Readonly<Record<string, string>>;
  createBucket(name: string, options?: { readonly objectLock?: boolean }): Promise<void>;
  /** Stops the server for good; what it holds is gone. */
  stop(): Promise<void>;
}

const ACCESS_KEY = { accessKeyId: 'coffer', secretAccessKey: 'coffer-test-secret' };
const CLUSTER_ID = '5ccadf1c-4f5f-4d2f-9a7c-0f5a3f2d7a11';
const execute = promisify(execFile);

/** Needs the Debian packages radosgw, ceph-mon, ceph-osd and ceph-common. */
export async function startS3Server(): Promise<S3Server> {
  const folder = await mkdtemp(join(tmpdir(), 'coffer-ceph-'));
  const processes: ChildProcess[] = [];
  const stop = async () => {
    await Promise.all(processes.map(endProcess));
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const [monitorPort = 0, port = 0] = await freePorts(2);
    await startCluster(folder, monitorPort, port, processes);
    const gateway = startProcess('radosgw', ['-f', '-n', 'client.admin'], cephEnvironment(folder));
    processes.push(gateway);
    await waitForPort(gateway, port, 'radosgw');
    return describeServer(`http://127.0.0.1:${port}`, stop);
  } catch (error) {
    await stop();
    throw new Error('the S3 server for tests did not start', { cause: error });
  }
}

function describeServer(endpoint: string, stop: () => Promise<void>): S3Server {
  const region = 'us-east-1';
  const client = { endpoint, region, credentials: ACCESS_KEY, forcePathStyle: true };
  return {
    endpoint,
    client,
    access: { form: 'keys', endpoint, region, ...ACCESS_KEY },
    environment: {
      AWS_ENDPOINT_URL: endpoint,
      AWS_REGION: region,
      AWS_ACCESS_KEY_ID: ACCESS_KEY.accessKeyId,
      AWS_SECRET_ACCESS_KEY: ACCESS_KEY.secretAccessKey,
    },
    createBucket: async (name, { objectLock = false } = {}) => {
      const { CreateBucketCommand, S3Client } = await import('@aws-sdk/client-s3');
      const s3 = new S3Client(client);
      await s3.send(
        new CreateBucketCommand({ Bucket: name, ObjectLockEnabledForBucket: objectLock }),
      );
      s3.destroy();
    },
    stop,
  };
}

async function startCluster(
  folder: string,
  monitorPort: number,
  gatewayPort: number,
  processes: ChildProcess[],
): Promise<void> {
  const env = cephEnvironment(folder);
  const address = `[v2:127.0.0.1:${monitorPort}]`;
  const [map, monitorData, storageData] = ['monmap', 'mon', 'osd'].map((word) =>
    join(folder, word),
  );
  const start = (command: string, ...args: string[]) =>
    processes[processes.push(startProcess(command, args, env)) - 1]!;
  const run = (command: string, ...args: string[]) => runCeph(command, args, env);

  await mkdir(monitorData!);
  await mkdir(storageData!);
  await writeFile(join(folder, 'ceph.conf'), configuration(folder, address, gatewayPort));
  await run('monmaptool', '--create', '--fsid', CLUSTER_ID, '--addv', 'a', address, map!);
  await run('ceph-mon', '--mkfs', '-i', 'a', '--mon-data', monitorData!, '--monmap', map!);
  const monitor = start('ceph-mon', '-f', '-i', 'a', '--mon-data', monitorData!);
  await waitForPort(monitor, monitorPort, 'ceph-mon');
  await run('ceph-osd', '--mkfs', '-i', '0', '--osd-data', storageData!, '--osd-uuid', CLUSTER_ID);
  await run('ceph', 'osd', 'new', (await readFile(join(storageData!, 'fsid'), 'utf8')).trim(), '0');
  start('ceph-osd', '-f', '-i', '0', '--osd-data', storageData!);
  const { accessKeyId, secretAccessKey } = ACCESS_KEY;
  const user = ['--uid', 'coffer', '--display-name', 'coffer'];
  const keys = ['--access-key', accessKeyId, '--secret-key', secretAccessKey];
  await run('radosgw-admin', 'user', 'create', ...user, ...keys);
}

async function runCeph(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<void> {
  try {
    await execute(command, args, { env, timeout: 1_800_000 });
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (!isMissing) throw error;
    const packages = 'radosgw ceph-mon ceph-osd ceph-common';
    throw new Error(`${command} is missing: apt-get install ${packages}`, { cause: error });
  }
}

function cephEnvironment(folder: string): NodeJS.ProcessEnv {
  return { ...process.env, CEPH_CONF: join(folder, 'ceph.conf') };
}

/** One of everything, in memory, without authentication among the daemons, and no waiting. */
function configuration(folder: string, monitorAddress: string, gatewayPort: number): string {
  const options = {
    fsid: CLUSTER_ID,
    'mon host': monitorAddress,
    'mon initial members': 'a',
    'ms bind msgr1': 'false',
    // The gateway asks for encryption to the monitor, which there is none of without keys.
    'ms mon client mode': 'crc',
    'public addr': '127.0.0.1',
    'cluster addr': '127.0.0.1',
    'auth cluster required': 'none',
    'auth service required': 'none',
    'auth client required': 'none',
    keyring: '/dev/null',
    'run dir': folder,
    'admin socket': `${folder}/$name.$pid.asok`,
    'log file': `${folder}/$name.log`,
    'crash dir': folder,
    'osd objectstore': 'memstore',
    'memstore device bytes': String(4 * 1024 ** 3),
    'osd pool default size': '1',
    'osd pool default min size': '1',
    'osd pool default pg num': '4',
    'osd pool default pgp num': '4',
    'osd pool default pg autoscale mode': 'off',
    'osd crush chooseleaf type': '0',
    'mon allow pool size one': 'true',
    'mon max pg per osd': '10000',
    // Each pool is a few decisions of the monitor, which waits a second before each by default.
    'paxos propose interval': '0.01',
    'paxos min wait': '0.01',
    // 0: connections that are idle are not closed, since what is sent at that moment would fail.
    'rgw frontends': `beast endpoint=127.0.0.1:${gatewayPort} request_timeout_ms=0`,
    'rgw thread pool size': '64',
  };
  const lines = Object.entries(options).map(([name, value]) => `${name} = ${value}`);
  return `[global]\n${lines.join('\n')}\n`;
}
