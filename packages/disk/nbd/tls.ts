/**
 * TLS for NBD: certificates in a folder with the names that QEMU and nbdkit use (`ca-cert.pem`,
 * `server-cert.pem`, `server-key.pem`, `client-cert.pem`, `client-key.pem`), or keys that both sides
 * share, in a file of lines `user:hexkey` as `psktool` writes it.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isIP, type Socket } from 'node:net';
import {
  connect,
  type ConnectionOptions,
  createSecureContext,
  createServer,
  type SecureContextOptions,
  type TlsOptions,
  type TLSSocket,
} from 'node:tls';
import { CofferError, systemErrorCode } from '@coffer/base';

export type NbdTls =
  | { readonly form: 'certificates'; readonly folder: string }
  /** A server takes the keys of all users of the file; a client has the one of its user. */
  | { readonly form: 'psk'; readonly file: string; readonly user: string };

/**
 * Shared keys of TLS 1.3 go through another callback of OpenSSL than Node has, so it is 1.2, with
 * ciphers that keep old sessions secret when the key becomes known, and authenticate what they
 * encrypt. The first is known to all peers.
 */
const PSK_OPTIONS = {
  ciphers: 'ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES256-GCM-SHA384',
  dhparam: 'auto',
  minVersion: 'TLSv1.2',
  maxVersion: 'TLSv1.2',
} as const;
const PSK_KEY_SIZE_MIN = 16;

/** Encrypts the client's side; resolves when both sides know each other. */
export async function secureClient(socket: Socket, tls: NbdTls, host: string): Promise<TLSSocket> {
  const options = clientOptions(tls, host);
  return await new Promise((resolve, reject) => {
    const secured = connect({ socket, ...options });
    const fail = (error?: Error): void => reject(failed(error));
    secured.once('error', fail);
    secured.once('close', fail);
    secured.once('secureConnect', () => {
      secured.off('error', fail);
      secured.off('close', fail);
      resolve(secured);
    });
  });
}

/** Encrypts the server's side. Fails when the client has no key or certificate that counts. */
export async function secureServer(socket: Socket, options: TlsOptions): Promise<TLSSocket> {
  return await new Promise((resolve, reject) => {
    // A server of its own for each connection, since it tells which one was refused.
    const server = createServer(options);
    server.once('secureConnection', resolve);
    server.once('tlsClientError', (error) => reject(failed(error)));
    socket.once('close', () => reject(failed()));
    server.emit('connection', socket);
  });
}

/** Of errors of TLS the code says more than the message, of others the message. */
function failed(error?: unknown): CofferError {
  const said = error instanceof Error ? error.message : 'the connection was closed';
  const code = systemErrorCode(error);
  const reason = `TLS: ${code?.startsWith('ERR_SSL_') ? code : said}`;
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
  const ca = required(tls.folder, 'ca-cert.pem');
  const cert = fileIfThere(tls.folder, 'client-cert.pem');
  const key = fileIfThere(tls.folder, 'client-key.pem');
  const credentials = cert && key ? { ca, cert, key } : { ca };
  checkCredentials(tls.folder, credentials);
  // The certificate has to be of the host; only of names is the server told, too.
  return { ...credentials, host, ...(isIP(host) ? {} : { servername: host }) };
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
  const cert = required(tls.folder, 'server-cert.pem');
  const key = required(tls.folder, 'server-key.pem');
  const ca = fileIfThere(tls.folder, 'ca-cert.pem');
  const credentials = ca ? { ca, cert, key } : { cert, key };
  checkCredentials(tls.folder, credentials);
  // Who has a folder with a CA asks its clients for certificates of that CA.
  return ca ? { ...credentials, requestCert: true, rejectUnauthorized: true } : credentials;
}

function checkCredentials(folder: string, credentials: SecureContextOptions): void {
  try {
    createSecureContext(credentials);
  } catch (error) {
    throw new CofferError('usage', { folder, reason: 'not a certificate and its key' }, error);
  }
}

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
  const text = textIfThere(file);
  if (text === undefined) throw unreadable(file, 'ENOENT');
  return text;
}

function fileIfThere(folder: string, name: string): string | undefined {
  return textIfThere(join(folder, name));
}

function textIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT') return undefined;
    throw unreadable(file, code, error);
  }
}

function unreadable(file: string, code: string | undefined, cause?: unknown): CofferError {
  return new CofferError('usage', { file, reason: `it cannot be read: ${code}` }, cause);
}
