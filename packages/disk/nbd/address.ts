/**
 * Where an NBD export is, as a URI (nbd/doc/uri.md of the NBD project): `nbd://host:port/export`,
 * `nbd+unix:///export?socket=path`, and with TLS `nbds://` and `nbds+unix://`. Pure.
 */
import { CofferError } from '@coffer/base';

export const NBD_PORT = 10_809;
/** The path of a unix socket has 108 bytes, one of them the end (unix(7)). */
export const SOCKET_PATH_SIZE_MAX = 107;

export type NbdPlace =
  | { readonly form: 'unix'; readonly path: string }
  | { readonly form: 'tcp'; readonly host: string; readonly port: number };

export interface NbdAddress {
  readonly place: NbdPlace;
  readonly exportName: string;
  readonly tls: boolean;
  /** Folder with `ca-cert.pem`, and for a client that has to show who it is more. */
  readonly certificatesFolder: string | undefined;
  readonly pskFile: string | undefined;
  readonly user: string | undefined;
}

const SCHEMES = ['nbd:', 'nbds:', 'nbd+unix:', 'nbds+unix:'];

export function isNbdUri(text: string): boolean {
  return SCHEMES.some((scheme) => text.startsWith(`${scheme}//`));
}

/** Fails with `usage`, saying what is wrong with the URI. */
export function parseNbdUri(text: string): NbdAddress {
  const url = isNbdUri(text) ? URL.parse(text) : null;
  if (!url)
    throw misunderstood(text, 'it is not nbd://HOST/EXPORT or nbd+unix:///EXPORT?socket=PATH');
  const isUnix = url.protocol.endsWith('+unix:');
  return {
    place: isUnix ? unixPlace(text, url) : tcpPlace(text, url),
    exportName: decoded(text, url.pathname.replace(/^\//, '')),
    tls: url.protocol.startsWith('nbds'),
    certificatesFolder: url.searchParams.get('tls-certificates') ?? undefined,
    pskFile: url.searchParams.get('tls-psk-file') ?? undefined,
    user: url.username === '' ? undefined : decoded(text, url.username),
  };
}

export function formatNbdUri({
  place,
  exportName,
  tls,
}: Pick<NbdAddress, 'place' | 'exportName' | 'tls'>): string {
  const scheme = tls ? 'nbds' : 'nbd';
  const name = encodeURIComponent(exportName);
  if (place.form === 'unix') {
    return `${scheme}+unix:///${name}?socket=${encodeURI(place.path)}`;
  }
  const host = place.host.includes(':') ? `[${place.host}]` : place.host;
  const port = place.port === NBD_PORT ? '' : `:${place.port}`;
  return `${scheme}://${host}${port}/${name}`;
}

function unixPlace(text: string, url: URL): NbdPlace {
  const path = url.searchParams.get('socket');
  if (path === null || path === '') throw misunderstood(text, 'it names no ?socket=PATH');
  if (url.host !== '') throw misunderstood(text, 'a unix socket has no host: write nbd+unix:///');
  return { form: 'unix', path: checkedSocketPath(path) };
}

/** Fails with `usage` when the system does not take a path as long as that. */
export function checkedSocketPath(path: string): string {
  const size = Buffer.byteLength(path);
  if (size <= SOCKET_PATH_SIZE_MAX) return path;
  const reason = `the path of a unix socket has ${SOCKET_PATH_SIZE_MAX} bytes at most, not ${size}`;
  throw new CofferError('usage', { path, reason });
}

function tcpPlace(text: string, url: URL): NbdPlace {
  if (url.hostname === '') throw misunderstood(text, 'it names no host');
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return { form: 'tcp', host, port: url.port === '' ? NBD_PORT : Number(url.port) };
}

function decoded(text: string, part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw misunderstood(text, 'a % stands before what is no byte');
  }
}

function misunderstood(uri: string, reason: string): CofferError {
  return new CofferError('usage', { uri, reason });
}
