/**
 * What tests of NBD share: a folder that goes away with the tests, the programs that judge, and
 * servers of others. A program that is missing makes its test fail.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, watch } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { type ErrorCode, isCofferError, seededRandom, systemClock } from '@coffer/base';
import type { Disk, WritableDisk } from '../../disk.ts';
import { createRawDisk } from '../../raw.ts';
import { type NbdAddress, parseNbdUri } from '../address.ts';
import type { ConnectOptions } from '../client.ts';
import { type NbdDisk, type NbdDiskOptions, openNbdDisk } from '../nbd-disk.ts';
import { type NbdServer, type NbdServerOptions, startNbdServer } from '../server.ts';

export const MIB = 1024 * 1024;
export const PYTHON = '/usr/bin/python3';

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Lab {
  /** A path in the folder of the tests, the same one for the same name. */
  path(name: string): string;
  /** A path that no one has got before. */
  newPath(): string;
  /** Starts a server that writes its pid file when it listens. */
  start(command: string, args: (pidFile: string) => readonly string[]): Promise<Started>;
  /** Starts our server; it is closed with the tests at the latest. */
  serve(
    options: Omit<NbdServerOptions, 'onError' | 'place'> & Partial<NbdServerOptions>,
  ): Promise<NbdServer & { readonly uri: string; readonly socket: string }>;
}

export interface Started {
  readonly pid: number;
  /** Resolves when it has ended. */
  kill(signal?: NodeJS.Signals): Promise<void>;
}

/** To be called once in a test file. */
export function nbdLab(): Lab {
  const folder = mkdtempSync(join(tmpdir(), 'coffer-nbd-'));
  const closing: (() => Promise<void>)[] = [];
  after(async () => {
    await Promise.all(closing.map((close) => close()));
    rmSync(folder, { recursive: true });
  });
  let count = 0;
  const newPath = (): string => join(folder, `${++count}`);
  return {
    path: (name) => join(folder, name),
    newPath,
    async start(command, args) {
      const pidFile = newPath();
      const child = spawn(command, args(pidFile), { stdio: ['ignore', 'ignore', 'pipe'] });
      const started = await listening(child, command, folder, pidFile);
      closing.push(() => started.kill());
      return started;
    },
    async serve(options) {
      const socket = newPath();
      const place = { form: 'unix', path: socket } as const;
      const server = await startNbdServer({ place, onError: assert.ifError, ...options });
      closing.push(() => server.close());
      return { ...server, socket, uri: uriOf(socket, options.exports[0]?.name) };
    },
  };
}

async function listening(
  child: ChildProcess,
  command: string,
  folder: string,
  pidFile: string,
): Promise<Started> {
  let said = '';
  child.stderr!.on('data', (piece: Buffer) => (said += piece.toString()));
  const ended = once(child, 'close');
  const watcher = watch(folder);
  const ready = (async () => {
    while (!existsSync(pidFile)) await once(watcher, 'change');
    return true;
  })();
  const isReady = await Promise.race([ready, ended.then(() => false)]);
  watcher.close();
  assert.ok(isReady, `${command} ended: ${said}`);
  return {
    pid: child.pid!,
    async kill(signal = 'SIGKILL') {
      child.kill(signal);
      await ended;
    },
  };
}

/** Runs a program to its end. Fails when it cannot be started. */
export async function run(command: string, args: readonly string[], input = ''): Promise<Finished> {
  const child = spawn(command, args, { stdio: 'pipe' });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (piece: Buffer) => (stdout += piece.toString()));
  child.stderr.on('data', (piece: Buffer) => (stderr += piece.toString()));
  // A program may end before it has read what it is given.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

/** Runs a program that has to succeed; what it said. */
export async function must(command: string, args: readonly string[], input = ''): Promise<string> {
  const { code, stdout, stderr } = await run(command, args, input);
  assert.equal(code, 0, `${command} ${args.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

/** Runs commands of nbdsh with `h` connected to a URI; what they print. */
export async function nbdsh(uri: string, commands: string, before = ''): Promise<string> {
  const connect = `import nbd, errno\nh = nbd.NBD()\n${before}\nh.connect_uri(${JSON.stringify(uri)})\n`;
  return await must(PYTHON, ['-c', `${connect}${commands}\n`]);
}

export function uriOf(socket: string, exportName = ''): string {
  return `nbd+unix:///${exportName}?socket=${socket}`;
}

type Timeouts = Pick<ConnectOptions, 'connectTimeoutMs' | 'requestTimeoutMs'>;
/** Only a server that hangs reaches them, or a clock of the test. */
export const TIMEOUTS: Timeouts = { connectTimeoutMs: 60_000, requestTimeoutMs: 60_000 };

export function connectOptions(
  uri: string | NbdAddress,
  more: Partial<ConnectOptions> = {},
): ConnectOptions {
  const address = typeof uri === 'string' ? parseNbdUri(uri) : uri;
  return { address, tls: undefined, ...TIMEOUTS, clock: systemClock, ...more };
}

export async function openDisk(uri: string, more: Partial<NbdDiskOptions> = {}): Promise<NbdDisk> {
  const common = { writable: false, reconnectTimeoutMs: 0 };
  return await openNbdDisk({ ...connectOptions(uri), ...common, ...more });
}

/** For `assert.rejects`: an error with that code, whose details hold what is given. */
export const fails =
  (code: ErrorCode, details: Record<string, RegExp | string | number> = {}) =>
  (error: unknown): boolean => {
    assert.ok(isCofferError(error, code), `${String(error)} instead of ${code}`);
    for (const [name, expected] of Object.entries(details)) {
      const actual: unknown = error.details[name];
      if (expected instanceof RegExp) assert.match(String(actual), expected);
      else assert.equal(actual, expected);
    }
    return true;
  };

/** A disk in memory; its methods may be replaced. */
export function memoryDisk(bytes: Buffer, more: Partial<WritableDisk> = {}): WritableDisk {
  const disk: WritableDisk = {
    sizeBytes: bytes.length,
    async read(offset, target) {
      target.set(bytes.subarray(offset, offset + target.length));
    },
    *extents(range = { offset: 0, length: bytes.length }) {
      if (range.length > 0) yield { ...range, kind: 'data' };
    },
    async write(offset, written) {
      bytes.set(written, offset);
    },
    async zero(offset, length) {
      bytes.fill(0, offset, offset + length);
    },
    flush: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
  return { ...disk, ...more };
}

export async function readAll(disk: Disk): Promise<Buffer> {
  const bytes = Buffer.alloc(disk.sizeBytes, 0xee);
  await disk.read(0, bytes);
  return bytes;
}

/** Data at 1 and at 5 MiB, holes around. */
export function sparseContents(sizeBytes = 8 * MIB): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  seededRandom(1).bytes(MIB).copy(bytes, MIB);
  seededRandom(2)
    .bytes(4096)
    .copy(bytes, 5 * MIB);
  return bytes;
}

/** A raw disk with the contents, and its file. */
export async function rawDisk(
  lab: Lab,
  bytes = sparseContents(),
): Promise<{ image: string; disk: WritableDisk }> {
  const image = lab.newPath();
  const disk = await createRawDisk(image, bytes.length);
  await disk.write(MIB, bytes.subarray(MIB, 2 * MIB));
  await disk.write(5 * MIB, bytes.subarray(5 * MIB, 5 * MIB + 4096));
  return { image, disk };
}
