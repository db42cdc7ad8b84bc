/**
 * TLS for NBD: certificates in a folder with the names that QEMU and nbdkit use (`ca-cert.pem`,
 * `server-cert.pem`, `server-key.pem`, `client-cert.pem`, `client-key.pem`), or keys that both sides
 * share, in a file of lines `user:hexkey` as `psktool` writes it.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Socket } from 'node:net';
import {
  connect,
  type ConnectionOptions,
  createSecureContext,
  createServer,
  type TlsOptions,
  type TLSSocket,
} from 'node:tls';
import { CofferError, systemErrorCode } from '@coffer/base';

export type NbdTls =
  | { readonly form: 'certificates'; readonly folder: string }
  | { readonly form: 'psk'; readonly file: string; readonly user: string };

/** TLS 1.3 of OpenSSL takes shared keys by another callback than Node has; 1.2 works with all. */
const PSK_CIPHERS = 'PSK+HIGH:!SHA1:!CBC:@SECLEVEL=1';
const PSK_KEY_SIZE_MIN = 16;

/** Encrypts the client's side; resolves when both sides know each other. */
export async function secureClient(socket: Socket, tls: NbdTls, host: string): Promise<TLSSocket> {
  return await new Promise((resolve, reject) => {
    const secured = connect({ socket, ...clientOptions(tls, host) });
    const fail = (error?: Error): void => reject(failed(error));
    secured.once('secureConnect', () => resolve(secured));
    secured.once('error', fail);
    secured.once('close', () => fail());
  });
}

/** Encrypts the server's side. Fails when the client has no key or certificate that counts. */
export async function secureServer(socket: Socket, options: TlsOptions): Promise<TLSSocket> {
  return await new Promise((resolve, reject) => {
    // A server of its own for each connection, since it tells which one was refused.
    const server = createServer(options);
    server.once('secureConnection', resolve);
    server.once('tlsClientError', (error) => reject(failed(error)));
    socket.once('close', () => reject(failed(undefined)));
    server.emit('connection', socket);
  });
}

function failed(error: Error | undefined): CofferError {
  const reason = `TLS: ${error?.message ?? 'the connection was closed'}`;
  return new CofferError('nbd-refused', { reason }, error);
}

function clientOptions(tls: NbdTls, host: string): ConnectionOptions {
  if (tls.form === 'psk') {
    const psk = keyOf(tls);
    return {
      ...PSK_OPTIONS,
      checkServerIdentity: () => undefined,
      pskCallback: () => ({ psk, identity: tls.user }),
    };
  }
  const client = {
    cert: fileIfThere(tls.folder, 'client-cert.pem'),
    key: fileIfThere(tls.folder, 'client-key.pem'),
  };
  return {
    ca: required(tls.folder, 'ca-cert.pem'),
    ...(client.cert && client.key ? { cert: client.cert, key: client.key } : {}),
    // A name is checked; addresses are no server names.
    ...(/^[\d.:]+$/.test(host) ? {} : { servername: host }),
  };
}

/** What a server of that kind needs. Fails with `usage` when a file is missing or not valid. */
export function serverTlsOptions(tls: NbdTls): TlsOptions {
  if (tls.form === 'psk') {
    const keys = readKeys(tls.file);
    return {
      ...PSK_OPTIONS,
      pskCallback: (_socket: TLSSocket, identity: string) => keys.get(identity) ?? null,
    };
  }
  const [cert, key] = [
    required(tls.folder, 'server-cert.pem'),
    required(tls.folder, 'server-key.pem'),
  ];
  const ca = fileIfThere(tls.folder, 'ca-cert.pem');
  try {
    createSecureContext({ cert, key, ...(ca ? { ca } : {}) });
  } catch (error) {
    throw new CofferError(
      'usage',
      { folder: tls.folder, reason: 'not a certificate and its key' },
      error,
    );
  }
  // Who has a folder with a CA asks its clients for certificates of that CA.
  return ca ? { cert, key, ca, requestCert: true, rejectUnauthorized: true } : { cert, key };
}

const PSK_OPTIONS = {
  ciphers: PSK_CIPHERS,
  minVersion: 'TLSv1.2',
  maxVersion: 'TLSv1.2',
} as const;

function keyOf({ file, user }: { file: string; user: string }): Buffer {
  const key = readKeys(file).get(user);
  if (!key) throw new CofferError('usage', { file, reason: `it has no key of '${user}'` });
  return key;
}

function readKeys(file: string): ReadonlyMap<string, Buffer> {
  const keys = new Map<string, Buffer>();
  for (const line of readText(file).split('\n')) {
    const match = /^([^:#]+):((?:[0-9a-fA-F]{2})+)\s*$/.exec(line);
    if (match) keys.set(match[1]!, Buffer.from(match[2]!, 'hex'));
  }
  const isWeak = [...keys.values()].some((key) => key.length < PSK_KEY_SIZE_MIN);
  if (keys.size === 0 || isWeak) {
    const reason = `it has no lines of USER:KEY with hexadecimal keys of ${PSK_KEY_SIZE_MIN} bytes`;
    throw new CofferError('usage', { file, reason });
  }
  return keys;
}

function required(folder: string, name: string): string {
  return readText(join(folder, name));
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const reason = `it cannot be read: ${systemErrorCode(error)}`;
    throw new CofferError('usage', { file, reason }, error);
  }
}

function fileIfThere(folder: string, name: string): string | undefined {
  try {
    return readFileSync(join(folder, name), 'utf8');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw new CofferError(
      'usage',
      { file: join(folder, name), reason: 'it cannot be read' },
      error,
    );
  }
}
