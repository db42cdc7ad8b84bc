/**
 * Where an NBD export is, as a URI (nbd/doc/uri.md of the NBD project): `nbd://host:port/export`,
 * `nbd+unix:///export?socket=path`, and with TLS `nbds://` and `nbds+unix://`. Pure.
 */
import { CofferError } from '@coffer/base';
import { STRING_SIZE_MAX } from './protocol.ts';

const NBD_PORT = 10_809;
/** The path of a unix socket has 108 bytes, one of them the end (unix(7)). */
const SOCKET_PATH_SIZE_MAX = 107;

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

const PATTERN = /^(nbds?)(\+unix)?:\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/s;
/** User, host or address in brackets, and port. */
const AUTHORITY = /^(?:([^@]*)@)?(?:\[([^\]]+)\]|([^@:[\]]*))(?::(\d{1,5}))?$/;

export function isNbdUri(text: string): boolean {
  return /^nbds?(\+unix)?:\/\//.test(text);
}

/** Fails with `usage`, saying what is wrong with the URI. */
export function parseNbdUri(text: string): NbdAddress {
  const [, scheme, unix, authority = '', name = '', query = ''] = PATTERN.exec(text) ?? [];
  const [whole, user, address, host = '', port] = AUTHORITY.exec(authority) ?? [];
  if (scheme === undefined || whole === undefined) {
    throw misunderstood(text, 'it is not nbd://HOST/EXPORT or nbd+unix:///EXPORT?socket=PATH');
  }
  // A plus means itself here, not a space.
  const parameters = new URLSearchParams(query.replaceAll('+', '%2B'));
  const where = { host: address ?? decoded(text, host), port };
  return {
    place: unix ? unixPlace(text, where, parameters.get('socket')) : tcpPlace(text, where),
    exportName: checkedExportName(decoded(text, name)),
    tls: scheme === 'nbds',
    certificatesFolder: parameters.get('tls-certificates') ?? undefined,
    pskFile: parameters.get('tls-psk-file') ?? undefined,
    user: user === undefined || user === '' ? undefined : decoded(text, user),
  };
}

/** An export on a unix socket, without TLS. */
export function unixAddress(path: string, exportName: string): NbdAddress {
  return {
    place: { form: 'unix', path },
    exportName,
    tls: false,
    certificatesFolder: undefined,
    pskFile: undefined,
    user: undefined,
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
    const path = place.path.split('/').map(encodeURIComponent).join('/');
    return `${scheme}+unix:///${name}?socket=${path}`;
  }
  const host = place.host.includes(':') ? `[${place.host}]` : place.host;
  const port = place.port === NBD_PORT ? '' : `:${place.port}`;
  return `${scheme}://${host}${port}/${name}`;
}

interface Authority {
  readonly host: string;
  readonly port: string | undefined;
}

function unixPlace(text: string, { host, port }: Authority, path: string | null): NbdPlace {
  if (path === null || path === '') throw misunderstood(text, 'it names no ?socket=PATH');
  if (host !== '' || port !== undefined) {
    throw misunderstood(text, 'a unix socket has no host: write nbd+unix:///');
  }
  return { form: 'unix', path: checkedSocketPath(path) };
}

function tcpPlace(text: string, { host, port }: Authority): NbdPlace {
  if (host === '') throw misunderstood(text, 'it names no host');
  const number = port === undefined ? NBD_PORT : Number(port);
  if (number < 1 || number > 65_535) throw misunderstood(text, 'ports are 1 to 65535');
  return { form: 'tcp', host, port: number };
}

/** Fails with `usage` when the system does not take a path as long as that. */
export function checkedSocketPath(path: string): string {
  const size = Buffer.byteLength(path);
  if (size <= SOCKET_PATH_SIZE_MAX && !path.includes('\0')) return path;
  const reason = `the path of a unix socket has ${SOCKET_PATH_SIZE_MAX} bytes at most, not ${size}`;
  throw new CofferError('usage', { path, reason });
}

/** Fails with `usage` when no server can have an export of that name ("Conventions", strings). */
export function checkedExportName(name: string): string {
  const size = Buffer.byteLength(name);
  if (size <= STRING_SIZE_MAX && !name.includes('\0')) return name;
  const reason = `the name of an export has ${STRING_SIZE_MAX} bytes at most, and no NUL`;
  throw new CofferError('usage', { export: name.slice(0, 100), reason });
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
