/** A real Azure Blob server for tests: Azurite, with its blobs in memory. */
import { createRequire } from 'node:module';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AzureAccess } from '../access.ts';
import { endProcess, freePorts, startProcess, waitForPort } from './server-process.ts';

export interface AzuriteServer {
  readonly account: string;
  readonly connectionString: string;
  /** For stores in this process. */
  readonly access: AzureAccess;
  /** For programs that read the usual environment. */
  readonly environment: Readonly<Record<string, string>>;
  createContainer(name: string): Promise<void>;
  /** Stops the server for good; what it holds is gone. */
  stop(): Promise<void>;
}

/** Account and key are published by Azurite, the same in every installation. */
const ACCOUNT = 'devstoreaccount1';
const KEY =
  'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==';

/**
 * By itself it closes connections that were idle for five seconds, and what is sent on them at that
 * moment fails. Its option for that (--blobKeepAliveTimeout) has no effect.
 */
const KEEP_CONNECTIONS = `data:text/javascript,
  import { Server } from 'node:http';
  const never = { get: () => 0, set: () => {} };
  Object.defineProperty(Server.prototype, 'keepAliveTimeout', never);`;

/** Needs the npm package azurite, a development dependency. */
export async function startAzuriteServer(): Promise<AzuriteServer> {
  const [port = 0] = await freePorts(1);
  const folder = await mkdtemp(join(tmpdir(), 'coffer-azurite-'));
  const options = ['--inMemoryPersistence', '--silent', '--skipApiVersionCheck'];
  options.push('--disableTelemetry', '--blobHost', '127.0.0.1', '--blobPort', String(port));
  const node = ['--import', KEEP_CONNECTIONS];
  const server = startProcess(process.execPath, [...node, azuritePath(), ...options], {
    ...process.env,
    // Where it would write a log.
    HOME: folder,
  });
  const stop = async () => {
    await endProcess(server);
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await waitForPort(server, port, 'azurite');
  } catch (error) {
    await stop();
    throw error;
  }
  return describeServer(`http://127.0.0.1:${port}/${ACCOUNT}`, stop);
}

function describeServer(endpoint: string, stop: () => Promise<void>): AzuriteServer {
  const connectionString = `DefaultEndpointsProtocol=http;AccountName=${ACCOUNT};AccountKey=${KEY};BlobEndpoint=${endpoint};`;
  return {
    account: ACCOUNT,
    connectionString,
    access: { form: 'connection-string', connectionString },
    environment: { AZURE_STORAGE_CONNECTION_STRING: connectionString },
    createContainer: async (name) => {
      const { BlobServiceClient } = await import('@azure/storage-blob');
      await BlobServiceClient.fromConnectionString(connectionString).createContainer(name);
    },
    stop,
  };
}

function azuritePath(): string {
  try {
    return createRequire(import.meta.url).resolve('azurite/dist/src/blob/main.js');
  } catch (error) {
    throw new Error('azurite is missing: run npm install with development dependencies', {
      cause: error,
    });
  }
}
