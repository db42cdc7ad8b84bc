/**
 * A small S3 server in this process, with the habits of servers that are not Amazon's, and some that
 * no server should have. It checks no signatures.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type IncomingMessage, createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import type { S3Access } from '../access.ts';

export interface S3Habits {
  /** Answers 501 to the headers of newer checksums. */
  readonly refusesNewChecksums?: boolean;
  /** Answers 400 to a put without Content-MD5, as buckets with Object Lock do. */
  readonly wantsDigest?: boolean;
  /** Replaces objects, whatever `If-None-Match` says. */
  readonly ignoresConditions?: boolean;
  /** Answers this to everything: status, and code where it tells one. */
  readonly refusesAll?: readonly [status: number, code?: string];
  /** Takes requests, and never answers. */
  readonly isSilent?: boolean;
  /** What a list has for a token when it is at its end; none at all is right. */
  readonly tokenAtEnd?: 'empty' | 'last name' | 'the same';
  /** What is wrong with lists. */
  readonly lists?:
    | 'no tokens'
    | 'inclusive'
    | 'the first page for ever'
    | 'empty pages for ever'
    | 'the same token for ever'
    | 'backwards'
    | 'without sizes';
  readonly pageSize?: number;
  /** What is wrong with bodies. */
  readonly bodies?: 'end early' | 'stop' | 'without ranges' | 'longer';
}

export interface OddS3Server {
  readonly access: S3Access;
  /** What it does from now on. */
  habits: S3Habits;
  /** Requests so far. */
  readonly requestCount: number;
  /** Those that have come whole. */
  readonly bodyCount: number;
  /** Who has asked so far: ids of access keys. */
  readonly askedBy: ReadonlySet<string>;
  stop(): Promise<void>;
}

interface Stored {
  readonly bytes: Buffer;
  readonly time: Date;
  protectedUntil?: Date;
}

const PAGE_SIZE = 1000;
const NEW_CHECKSUMS = /^x-amz-(?:checksum-|sdk-checksum-|trailer)/;

export async function startOddS3Server(habits: S3Habits = {}): Promise<OddS3Server> {
  const bucket = new Bucket(habits);
  const server = createServer((request, response) => {
    // Who has sent half a body hears no more.
    bucket.answer(request, response).catch(() => response.destroy());
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    access: { form: 'keys', endpoint, accessKeyId: 'a', secretAccessKey: 'b' },
    get habits() {
      return bucket.habits;
    },
    set habits(next) {
      bucket.habits = next;
    },
    get requestCount() {
      return bucket.requestCount;
    },
    get bodyCount() {
      return bucket.bodyCount;
    },
    askedBy: bucket.askedBy,
    stop: async () => {
      server.closeAllConnections();
      await once(server.close(), 'close');
    },
  };
}

class Bucket {
  habits: S3Habits;
  requestCount = 0;
  bodyCount = 0;
  readonly askedBy = new Set<string>();
  readonly #objects = new Map<string, Stored>();

  constructor(habits: S3Habits) {
    this.habits = habits;
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requestCount++;
    const [, accessKeyId = ''] =
      /Credential=([^/]*)/.exec(request.headers.authorization ?? '') ?? [];
    this.askedBy.add(accessKeyId);
    const sent = await buffer(request);
    this.bodyCount++;
    const body = request.headers['x-amz-trailer'] === undefined ? sent : unchunked(sent);
    const url = new URL(request.url ?? '', 'http://localhost');
    const key = decodeURIComponent(url.pathname).split('/').slice(2).join('/');
    const [status, code = ''] = this.#refusal(request) ?? [];
    if (this.habits.isSilent) return;
    if (status !== undefined) fail(response, status, code);
    else if (url.searchParams.has('retention')) this.#protect(key, body, response);
    else if (request.method === 'PUT') this.#put(key, body, request, response);
    else if (request.method === 'DELETE') this.#delete(key, response);
    else if (key === '') this.#list(url.searchParams, response);
    else this.#get(key, request, response);
  }

  #refusal({ method, headers }: IncomingMessage): S3Habits['refusesAll'] {
    const { refusesAll, refusesNewChecksums, wantsDigest } = this.habits;
    if (refusesAll) return refusesAll;
    const isNew = Object.keys(headers).some((name) => NEW_CHECKSUMS.test(name));
    if (refusesNewChecksums && isNew) return [501, 'NotImplemented'];
    const hasDigest = 'content-md5' in headers || 'x-amz-trailer' in headers;
    return wantsDigest && method === 'PUT' && !hasDigest ? [400, 'InvalidRequest'] : undefined;
  }

  #put(key: string, bytes: Buffer, { headers }: IncomingMessage, response: ServerResponse): void {
    const digest = headers['content-md5'];
    if (digest !== undefined && digest !== digestOf(bytes)) fail(response, 400, 'BadDigest');
    else if (this.#isRefused(key, headers['if-none-match'])) {
      fail(response, 412, 'PreconditionFailed');
    } else {
      this.#objects.set(key, { bytes, time: new Date() });
      response.end();
    }
  }

  #isRefused(key: string, condition: string | undefined): boolean {
    return !this.habits.ignoresConditions && condition === '*' && this.#objects.has(key);
  }

  #protect(key: string, body: Buffer, response: ServerResponse): void {
    const stored = this.#objects.get(key);
    const until = new Date(/<RetainUntilDate>(.*?)</.exec(String(body))?.[1] ?? '');
    if (!stored) fail(response, 404, 'NoSuchKey');
    else if (stored.protectedUntil && stored.protectedUntil > until) {
      fail(response, 403, 'AccessDenied');
    } else {
      stored.protectedUntil = until;
      response.end();
    }
  }

  #delete(key: string, response: ServerResponse): void {
    if (this.#objects.get(key)?.protectedUntil) {
      fail(response, 403, 'AccessDenied');
      return;
    }
    this.#objects.delete(key);
    response.writeHead(204).end();
  }

  #get(key: string, { method, headers }: IncomingMessage, response: ServerResponse): void {
    const stored = this.#objects.get(key);
    if (!stored) {
      fail(response, 404, 'NoSuchKey');
      return;
    }
    response.setHeader('Last-Modified', stored.time.toUTCString());
    if (stored.protectedUntil) {
      const until = stored.protectedUntil.toISOString();
      response.setHeader('x-amz-object-lock-retain-until-date', until);
    }
    const isWhole = headers.range === undefined || this.habits.bodies === 'without ranges';
    const range = isWhole ? undefined : rangeOf(headers.range ?? '', stored.bytes.length);
    if (range && range.start >= stored.bytes.length) {
      fail(response, 416, 'InvalidRange');
      return;
    }
    const part = range ? stored.bytes.subarray(range.start, range.end) : stored.bytes;
    if (range) {
      response.statusCode = 206;
      const last = range.end - 1;
      response.setHeader('Content-Range', `bytes ${range.start}-${last}/${stored.bytes.length}`);
    }
    if (method === 'HEAD') response.setHeader('Content-Length', part.length).end();
    else this.#sendBody(part, response);
  }

  #sendBody(bytes: Buffer, response: ServerResponse): void {
    const { bodies } = this.habits;
    const isLonger = bodies === 'longer';
    response.setHeader('Content-Length', bytes.length + (isLonger ? 1 : 0));
    if (bodies === 'end early') {
      response.write(bytes.subarray(0, -1), () => response.destroy());
    } else if (bodies === 'stop') {
      response.write(bytes.subarray(0, 1));
    } else {
      response.end(isLonger ? Buffer.concat([bytes, Buffer.alloc(1)]) : bytes);
    }
  }

  #list(query: URLSearchParams, response: ServerResponse): void {
    const { lists, pageSize = PAGE_SIZE } = this.habits;
    const prefix = query.get('prefix') ?? '';
    const after = query.get('continuation-token') ?? query.get('start-after') ?? '';
    const isAhead = (key: string) => key > after || (lists === 'inclusive' && key === after);
    const keys = [...this.#objects.keys()].filter((key) => key.startsWith(prefix)).sort();
    const ahead = lists === 'the first page for ever' ? keys : keys.filter(isAhead);
    const page = lists === 'empty pages for ever' ? [] : ahead.slice(0, pageSize);
    if (lists === 'backwards') page.reverse();
    const isTruncated = lists?.endsWith('for ever') === true || ahead.length > page.length;
    const token = isTruncated ? this.#tokenBehind(page, after) : this.#tokenAtEnd(page, after);
    sendXml(response, 200, this.#pageXml(page, isTruncated, token));
  }

  #tokenBehind(page: readonly string[], before: string): string | undefined {
    const { lists } = this.habits;
    if (lists === 'no tokens') return undefined;
    if (lists === 'the same token for ever') return 'token';
    return lists === 'empty pages for ever' ? `${before}-` : page.at(-1);
  }

  #tokenAtEnd(page: readonly string[], before: string): string | undefined {
    const { tokenAtEnd } = this.habits;
    if (tokenAtEnd === 'empty') return '';
    if (tokenAtEnd === 'last name') return page.at(-1);
    return tokenAtEnd === 'the same' ? before || 'token' : undefined;
  }

  #pageXml(page: readonly string[], isTruncated: boolean, token: string | undefined): string {
    const contents = page.map((key) => {
      const { bytes, time } = this.#objects.get(key)!;
      const size = this.habits.lists === 'without sizes' ? '' : `<Size>${bytes.length}</Size>`;
      const modified = `<LastModified>${time.toISOString()}</LastModified>`;
      return `<Contents><Key>${key}</Key>${modified}${size}</Contents>`;
    });
    const next =
      token === undefined ? '' : `<NextContinuationToken>${token}</NextContinuationToken>`;
    const truncated = `<IsTruncated>${isTruncated}</IsTruncated>`;
    return `<ListBucketResult>${truncated}${next}${contents.join('')}</ListBucketResult>`;
  }
}

function rangeOf(header: string, size: number): { readonly start: number; readonly end: number } {
  const [first = '', last = ''] = header.replace('bytes=', '').split('-');
  return { start: Number(first), end: Math.min(size, Number(last) + 1) };
}

/** What is in a body with a checksum behind it: chunks with their sizes in front, an empty one last. */
function unchunked(sent: Buffer): Buffer {
  const chunks: Buffer[] = [];
  for (let offset = 0; ;) {
    const begin = sent.indexOf('\r\n', offset) + 2;
    const size = Number.parseInt(sent.toString('latin1', offset, begin), 16);
    if (size === 0) return Buffer.concat(chunks);
    chunks.push(sent.subarray(begin, begin + size));
    offset = begin + size + 2;
  }
}

function digestOf(bytes: Buffer): string {
  return createHash('md5').update(bytes).digest('base64');
}

function fail(response: ServerResponse, status: number, code: string): void {
  if (code === '') response.writeHead(status).end();
  else sendXml(response, status, `<Error><Code>${code}</Code><Message>no</Message></Error>`);
}

function sendXml(response: ServerResponse, status: number, xml: string): void {
  response.writeHead(status, { 'Content-Type': 'application/xml' });
  response.end(`<?xml version="1.0" encoding="UTF-8"?>${xml}`);
}
