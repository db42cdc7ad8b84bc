/**
 * A small Azure Blob server in this process, over one container with versions and immutability, which
 * Azurite does not have. It answers only to what is asked as the REST API says ("Set Blob Immutability
 * Policy"), and hides what is deleted, as Azure does. It checks no signatures.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import type { AzureAccess } from '../access.ts';
import { startLocalServer } from './local-server.ts';

export interface LockingAzureServer {
  readonly access: AzureAccess;
  /** Versions that take space, hidden ones included. */
  readonly versionCount: number;
  /** What the container gives new blobs. */
  defaultPolicy: Policy | undefined;
  /** Of a blob that is not hidden. */
  policyOf(name: string): Policy | undefined;
  stop(): Promise<void>;
}

export interface Policy {
  readonly until: Date;
  readonly mode: 'locked' | 'unlocked';
}

interface Version {
  readonly name: string;
  readonly id: string;
  readonly bytes: Buffer;
  readonly time: Date;
  isCurrent: boolean;
  policy: Policy | undefined;
}

export async function startLockingAzureServer(): Promise<LockingAzureServer> {
  const container = new Container();
  const server = await startLocalServer((request, response) => {
    container.answer(request, response).catch(() => response.destroy());
  });
  const endpoint = `${server.url}/coffer`;
  const connectionString = `DefaultEndpointsProtocol=http;AccountName=coffer;AccountKey=a2V5;BlobEndpoint=${endpoint};`;
  return {
    access: { form: 'connection-string', connectionString },
    get versionCount() {
      return container.versions.length;
    },
    get defaultPolicy() {
      return container.defaultPolicy;
    },
    set defaultPolicy(policy) {
      container.defaultPolicy = policy;
    },
    policyOf: (name) => container.find(name, null)?.policy,
    stop: () => server.stop(),
  };
}

class Container {
  versions: Version[] = [];
  defaultPolicy: Policy | undefined;
  #lastId = 0;

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const bytes = await buffer(request);
    const url = new URL(request.url ?? '', 'http://localhost');
    const name = decodeURIComponent(url.pathname).split('/').slice(3).join('/');
    const action = url.searchParams.get('comp') ?? request.method;
    if (action === 'list') this.#list(url.searchParams.get('prefix') ?? '', response);
    else if (action === 'PUT') this.#put(name, bytes, request, response);
    else this.#answerOf(this.find(name, url.searchParams.get('versionid')), request, response);
  }

  /** The current version where no id is given. */
  find(name: string, id: string | null): Version | undefined {
    return this.versions.find((each) =>
      id === null ? each.name === name && each.isCurrent : each.name === name && each.id === id,
    );
  }

  #put(name: string, bytes: Buffer, { headers }: IncomingMessage, response: ServerResponse): void {
    if (headers['if-none-match'] === '*' && this.find(name, null)) {
      refuse(response, 409, 'BlobAlreadyExists');
      return;
    }
    const id = new Date(++this.#lastId).toISOString();
    const policy = this.defaultPolicy;
    this.versions.push({ name, id, bytes, time: new Date(), isCurrent: true, policy });
    response.writeHead(201).end();
  }

  #answerOf(
    version: Version | undefined,
    request: IncomingMessage,
    response: ServerResponse,
  ): void {
    if (!version) refuse(response, 404, 'BlobNotFound');
    else if (request.method === 'DELETE') this.#delete(version, request, response);
    else if (request.method === 'PUT') lock(version, request, response);
    else show(version, request, response);
  }

  #delete(version: Version, { url = '' }: IncomingMessage, response: ServerResponse): void {
    if (!url.includes('versionid=')) {
      version.isCurrent = false;
      response.writeHead(202).end();
    } else if (version.isCurrent) {
      refuse(response, 409, 'OperationNotAllowedOnRootBlob');
    } else if (version.policy && version.policy.until > new Date()) {
      refuse(response, 409, 'BlobImmutableDueToPolicy');
    } else {
      this.versions = this.versions.filter((each) => each !== version);
      response.writeHead(202).end();
    }
  }

  #list(prefix: string, response: ServerResponse): void {
    const shown = this.versions.filter((each) => each.isCurrent && each.name.startsWith(prefix));
    const blobs = shown.map(({ name, bytes, time }) => {
      const modified = `<Last-Modified>${time.toUTCString()}</Last-Modified>`;
      const size = `<Content-Length>${bytes.length}</Content-Length>`;
      return `<Blob><Name>${name}</Name><Properties>${modified}${size}</Properties></Blob>`;
    });
    const xml = `<?xml version="1.0"?><EnumerationResults><Blobs>${blobs.sort().join('')}</Blobs></EnumerationResults>`;
    response.writeHead(200, { 'Content-Type': 'application/xml' }).end(xml);
  }
}

/** A locked policy can only be extended; dates are those of HTTP. */
function lock(version: Version, { headers }: IncomingMessage, response: ServerResponse): void {
  const [date, mode] = ['until-date', 'mode'].map((what) =>
    String(headers[`x-ms-immutability-policy-${what}`]),
  );
  const until = new Date(date ?? '');
  const isValid = until.toUTCString() === date && until > new Date() && mode === 'Locked';
  const isShorter = version.policy?.mode === 'locked' && version.policy.until > until;
  if (!isValid) refuse(response, 400, 'InvalidHeaderValue');
  else if (isShorter) refuse(response, 409, 'ImmutabilityPolicyCannotBeShortened');
  else {
    version.policy = { until, mode: 'locked' };
    response.writeHead(200).end();
  }
}

function show(version: Version, { method }: IncomingMessage, response: ServerResponse): void {
  const { id, bytes, time, policy } = version;
  response.setHeader('Last-Modified', time.toUTCString());
  response.setHeader('Content-Length', bytes.length);
  response.setHeader('ETag', `"${id}"`);
  response.setHeader('x-ms-version-id', id);
  if (policy) {
    response.setHeader('x-ms-immutability-policy-until-date', policy.until.toUTCString());
    response.setHeader('x-ms-immutability-policy-mode', policy.mode);
  }
  response.end(method === 'HEAD' ? undefined : bytes);
}

function refuse(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { 'x-ms-error-code': code, 'Content-Type': 'application/xml' });
  response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`);
}
