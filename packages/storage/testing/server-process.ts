/** Servers that tests start: on a free port of the loopback, always ended, never left behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemRandom } from '@coffer/base';

/** Below those that the system gives to connections: none of these takes one before its server does. */
const PORTS = { first: 12_000, count: 20_000 };

/** Ports that nothing listens on at this moment, and that others hardly choose in the same. */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = PORTS.first + Math.floor(systemRandom.fraction() * PORTS.count);
    if (await isFree(port)) ports.add(port);
  }
  return [...ports];
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    return false;
  }
  await once(server.close(), 'close');
  return true;
}

/** Starts a program in the foreground; the kernel kills it when this process ends, however. */
export function startProcess(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): ChildProcess {
  const bound = ['--pdeathsig', 'KILL', command, ...args];
  const child = spawn('setpriv', bound, { env, stdio: 'ignore' });
  // Reported by `waitForPort`, which sees that the process has no exit code and no port.
  child.on('error', () => undefined);
  return child;
}

/** Waits until the process listens; fails at once when it has ended. */
export async function waitForPort(child: ChildProcess, port: number, name: string): Promise<void> {
  const deadline = performance.now() + 1_800_000;
  while (!(await isListening(port))) {
    if (child.exitCode !== null) throw new Error(`${name} ended with exit code ${child.exitCode}`);
    if (child.pid === undefined) throw new Error(`${name} could not be started`);
    if (performance.now() > deadline) throw new Error(`${name} does not listen`);
    await sleep(20);
  }
}

/** Kills a process and waits for its end: what these servers hold is not needed any more. */
export async function endProcess(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
