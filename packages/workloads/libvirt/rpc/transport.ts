/** The way to a libvirt server: a socket, or ssh whose ends are one. */
import { spawn } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import {
  type Clock,
  CofferError,
  type ErrorDetails,
  startDeadline,
  systemErrorCode,
  toolEnvironment,
} from '@coffer/base';
import { type Address } from './address.ts';

/** What a program says about its failure is at the end of its output. */
const SAID_BYTES_MAX = 1000;

export interface TransportListener {
  readonly onData: (piece: Buffer) => void;
  /** Called when the connection has ended, for whatever reason. */
  readonly onEnd: (error: CofferError) => void;
}

/** Bytes in both directions. Nothing is read before `start`. */
export interface Transport {
  start(listener: TransportListener): void;
  write(bytes: Buffer): void;
  destroy(): void;
}

export interface TimeLimit {
  readonly timeoutMs: number;
  readonly clock: Clock;
}

/**
 * Connects. Fails with `libvirt-unreachable`, or with `libvirt-denied` when the socket is not for us.
 * With ssh a failure may show only when the connection is used.
 */
export async function openTransport(address: Address, limit: TimeLimit): Promise<Transport> {
  switch (address.transport) {
    case 'ssh':
      return sshTransport(address.args);
    case 'tcp': {
      const { host, port } = address;
      return socketTransport(await connected(() => connect({ host, port }), address.host, limit));
    }
    case 'unix':
      return socketTransport(await connectedToFirst(address.paths, limit));
  }
}

/** Connects to the first socket that exists. */
async function connectedToFirst(paths: readonly string[], limit: TimeLimit): Promise<Socket> {
  const [path, ...others] = paths;
  if (path === undefined) throw new CofferError('libvirt-unreachable', { reason: 'no socket' });
  try {
    return await connected(() => connect({ path }), path, limit);
  } catch (error) {
    const isAbsent = error instanceof CofferError && error.details['reason'] === 'ENOENT';
    if (!isAbsent || others.length === 0) throw error;
    return await connectedToFirst(others, limit);
  }
}

async function connected(
  open: () => Socket,
  where: string,
  { timeoutMs, clock }: TimeLimit,
): Promise<Socket> {
  const socket = open();
  try {
    await new Promise<void>((resolve, reject) => {
      const late = new CofferError('libvirt-unreachable', { where, reason: 'timeout', timeoutMs });
      const meetDeadline = startDeadline(clock, timeoutMs, () => reject(late));
      socket.once('close', meetDeadline);
      // It stays, so that an error between here and the first use is not without a listener.
      socket.on('error', reject);
      socket.once('connect', () => {
        meetDeadline();
        resolve();
      });
    });
    return socket;
  } catch (error) {
    socket.destroy();
    if (error instanceof CofferError) throw error;
    const reason = systemErrorCode(error);
    const isDenied = reason === 'EACCES' || reason === 'EPERM';
    const code = isDenied ? 'libvirt-denied' : 'libvirt-unreachable';
    throw new CofferError(code, { where, reason }, error);
  }
}

function socketTransport(socket: Socket): Transport {
  return {
    start({ onData, onEnd }) {
      let failure: Error | undefined;
      socket.on('data', onData);
      socket.on('error', (error) => (failure = error));
      socket.on('close', () => onEnd(lost({ reason: systemErrorCode(failure) }, failure)));
    },
    write: (bytes) => void socket.write(bytes),
    destroy: () => void socket.destroy(),
  };
}

/** Ssh ends by itself when we are gone, because its input ends. */
function sshTransport(args: readonly string[]): Transport {
  const child = spawn('ssh', args, { stdio: ['pipe', 'pipe', 'pipe'], env: toolEnvironment() });
  let said = Buffer.alloc(0);
  child.stderr.on('data', (piece: Buffer) => {
    said = Buffer.concat([said, piece]).subarray(-SAID_BYTES_MAX);
  });
  // Why ssh reads nothing more is told when it ends.
  child.stdin.on('error', () => {});
  return {
    start({ onData, onEnd }) {
      child.stdout.on('data', onData);
      child.on('error', (error) => onEnd(notStarted(error)));
      child.on('close', (exitCode) => {
        onEnd(lost({ exitCode: exitCode ?? undefined, said: said.toString().trim() }));
      });
    },
    write: (bytes) => void child.stdin.write(bytes),
    destroy: () => {
      child.stdin.destroy();
      child.kill();
    },
  };
}

function lost(details: ErrorDetails, cause?: unknown): CofferError {
  const reason = details['reason'] ?? 'the connection was closed';
  return new CofferError('libvirt-unreachable', { ...details, reason }, cause);
}

function notStarted(error: Error): CofferError {
  const reason = systemErrorCode(error);
  if (reason === 'ENOENT') return new CofferError('tool-missing', { tool: 'ssh' }, error);
  return lost({ reason }, error);
}
