/** URIs of libvirt, and where their servers listen. */
import { join } from 'node:path';
import { CofferError } from '@coffer/base';

const TCP_PORT = 16_509;

/** The socket of a daemon of its own for QEMU comes first, where there is one. */
const SOCKET_NAMES = ['virtqemud-sock', 'libvirt-sock'];

export type Address = {
  /** What the server is asked for. */
  readonly name: string;
} & (
  | { readonly transport: 'unix'; readonly paths: readonly string[] }
  | { readonly transport: 'tcp'; readonly host: string; readonly port: number }
  | { readonly transport: 'ssh'; readonly args: readonly string[] }
);

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Understands `qemu:///system`, `qemu:///session`, `qemu+unix:///…?socket=PATH`,
 * `qemu+ssh://[user@]host[:port]/…` and `qemu+tcp://host[:port]/…`. Fails with `usage`.
 */
export function parseLibvirtUri(uri: string, environment: Environment): Address {
  const url = URL.parse(uri);
  const scope = url?.pathname.slice(1);
  if (!url || (scope !== 'system' && scope !== 'session')) {
    throw notUnderstood(uri, 'it names neither /system nor /session');
  }
  const name = `qemu:///${scope}`;
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  switch (url.protocol) {
    case 'qemu:':
    case 'qemu+unix:': {
      if (host !== '') throw notUnderstood(uri, 'a host needs qemu+ssh: or qemu+tcp:');
      const socket = /[?&]socket=([^&]+)/.exec(url.search)?.[1];
      const paths = socket === undefined ? socketPaths(scope, environment) : [decoded(socket)];
      return { transport: 'unix', name, paths };
    }
    case 'qemu+tcp:':
      if (host === '') throw notUnderstood(uri, 'a host is missing');
      return { transport: 'tcp', name, host, port: Number(url.port) || TCP_PORT };
    case 'qemu+ssh:':
      if (host === '') throw notUnderstood(uri, 'a host is missing');
      return { transport: 'ssh', name, args: sshArgs(url, host, scope) };
    default:
      throw notUnderstood(uri, `${url.protocol} is not known`);
  }
}

function socketPaths(scope: 'system' | 'session', environment: Environment): string[] {
  const own = environment['XDG_RUNTIME_DIR'] ?? join(environment['HOME'] ?? '/', '.cache');
  const folder = scope === 'system' ? '/run/libvirt' : join(own, 'libvirt');
  return SOCKET_NAMES.map((name) => join(folder, name));
}

/** Ssh asks nothing and never reads our input as its own; after `--` a host cannot be an option. */
function sshArgs(url: URL, host: string, scope: 'system' | 'session'): string[] {
  const user = url.username === '' ? [] : ['-l', decoded(url.username)];
  const port = url.port === '' ? [] : ['-p', url.port];
  return ['-T', '-o', 'BatchMode=yes', ...user, ...port, '--', host, remoteCommand(scope)];
}

/** Joins the connection to the server's socket: by libvirt's own program, or else by netcat. */
function remoteCommand(scope: 'system' | 'session'): string {
  const folder =
    scope === 'system' ? '/run/libvirt' : '${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/libvirt';
  const helper = `exec virt-ssh-helper qemu:///${scope}`;
  const netcat = `exec nc -U "${folder}/libvirt-sock"`;
  const choice = `if command -v virt-ssh-helper >/dev/null; then ${helper}; else ${netcat}; fi`;
  return `sh -c '${choice}'`;
}

/** A plus sign is one, other than in the addresses of the web. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw notUnderstood(part, 'a percent sign is not followed by two digits');
  }
}

function notUnderstood(uri: string, reason: string): CofferError {
  return new CofferError('usage', { uri, reason });
}
