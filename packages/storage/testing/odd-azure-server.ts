/**
 * An Azure Blob server in this process that holds the blobs `a`, `b` and `c`, and has habits that no
 * server should have. It checks no signatures.
 */
import { once } from 'node:events';
import { type IncomingMessage, createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { AzureAccess } from '../access.ts';

export interface AzureHabits {
  /** Answers this to everything: status, and code where it tells one. */
  readonly refusesAll?: readonly [status: number, code?: string];
  readonly lists?: 'the first page for ever' | 'empty pages for ever' | 'without sizes';
  readonly bodies?: 'end early' | 'stop' | 'without ranges';
}

export interface OddAzureServer {
  readonly access: AzureAccess;
  /** What it does from now on. */
  habits: AzureHabits;
  /** Requests so far. */
  readonly requestCount: number;
  stop(): Promise<void>;
}

export const BLOB_CONTENT = Buffer.from('abcdef');
const NAMES = ['a', 'b', 'c'];
const TIME = new Date(0).toUTCString();

export async function startOddAzureServer(): Promise<OddAzureServer> {
  let requestCount = 0;
  const server = createServer((request, response) => {
    requestCount++;
    request.resume();
    answer(state.habits, request, response);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/coffer`;
  const state: OddAzureServer = {
    access: { form: 'connection-string', connectionString: connectionStringTo(endpoint) },
    habits: {},
    get requestCount() {
      return requestCount;
    },
    stop: async () => {
      server.closeAllConnections();
      await once(server.close(), 'close');
    },
  };
  return state;
}

function connectionStringTo(endpoint: string): string {
  return `DefaultEndpointsProtocol=http;AccountName=coffer;AccountKey=a2V5;BlobEndpoint=${endpoint};`;
}

function answer(habits: AzureHabits, request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '', 'http://localhost');
  if (habits.refusesAll) {
    const [status, code] = habits.refusesAll;
    response.writeHead(status, code === undefined ? {} : { 'x-ms-error-code': code }).end();
  } else if (url.searchParams.get('comp') === 'list') {
    sendList(habits, url.searchParams.get('marker') ?? '', response);
  } else if (request.method === 'GET') {
    sendBody(habits, request.headers['x-ms-range'] ?? request.headers.range, response);
  } else {
    response.writeHead(request.method === 'PUT' ? 201 : 202).end();
  }
}

function sendList({ lists }: AzureHabits, marker: string, response: ServerResponse): void {
  const names = lists === 'empty pages for ever' ? [] : NAMES;
  const next = lists?.endsWith('for ever') === true ? `${marker}-` : '';
  const size =
    lists === 'without sizes' ? '' : `<Content-Length>${BLOB_CONTENT.length}</Content-Length>`;
  const properties = `<Properties><Last-Modified>${TIME}</Last-Modified>${size}</Properties>`;
  const blobs = names.map((name) => `<Blob><Name>${name}</Name>${properties}</Blob>`).join('');
  response.writeHead(200, { 'Content-Type': 'application/xml' });
  response.end(
    `<?xml version="1.0"?><EnumerationResults><Blobs>${blobs}</Blobs><NextMarker>${next}</NextMarker></EnumerationResults>`,
  );
}

function sendBody(
  { bodies }: AzureHabits,
  range: string | string[] | undefined,
  response: ServerResponse,
): void {
  const [, first, last] = /bytes=(\d+)-(\d*)/.exec(String(range)) ?? [];
  const isWhole = first === undefined || bodies === 'without ranges';
  const start = isWhole ? 0 : Number(first);
  const end = isWhole || !last ? BLOB_CONTENT.length : Number(last) + 1;
  const part = BLOB_CONTENT.subarray(start, end);
  const place = `bytes ${start}-${end - 1}/${BLOB_CONTENT.length}`;
  const headers = { 'Content-Length': part.length, 'Last-Modified': TIME, ETag: '"1"' };
  response.writeHead(isWhole ? 200 : 206, {
    ...headers,
    ...(isWhole ? {} : { 'Content-Range': place }),
  });
  if (bodies === 'end early') response.write(part.subarray(0, -1), () => response.destroy());
  else if (bodies === 'stop') response.write(part.subarray(0, 1));
  else response.end(part);
}
