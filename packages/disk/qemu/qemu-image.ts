/**
 * Images that QEMU reads and writes best (qcow2, vmdk, vdi), as disks. A qemu-nbd of our own serves
 * each on a socket in a private folder. It ends with the disk, and with this process however that ends.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Clock,
  CofferError,
  isCofferError,
  startDeadline,
  toolEnvironment,
} from '@coffer/base';
import type { ByteRange, Extent, WritableDisk } from '../disk.ts';
import { unixAddress } from '../nbd/address.ts';
import { type NbdDisk, openNbdDisk } from '../nbd/nbd-disk.ts';
import { checkChain } from './chain.ts';
import { callQemuImg, imageOptions, lastWords, toolFailure } from './tool.ts';

const QEMU_FORMATS = ['qcow2', 'vmdk', 'vdi'] as const;
export type QemuFormat = (typeof QEMU_FORMATS)[number];

export interface QemuImageOptions {
  readonly format: QemuFormat;
  readonly writable: boolean;
  readonly mayReferToOthers: boolean;
  readonly clock: Clock;
  /** The socket lies in a private folder in it. */
  readonly temporaryFolder: string;
}

/** For one that hangs: one that ends is noticed at once, and a host may be busy. */
const START_TIMEOUT_MS = 120_000;
const END_TIMEOUT_MS = 60_000;
const ATTEMPT_DELAY_MS = 10;
const REQUEST_TIMEOUT_MS = 120_000;
const CONNECTIONS_MAX = 8;

/** Fails as `checkChain`, with `tool-missing`, and with `image-damaged` when QEMU cannot open it. */
export async function openQemuImage(
  path: string,
  options: QemuImageOptions,
): Promise<WritableDisk> {
  await checkChain(path, options);
  const folder = mkdtempSync(join(options.temporaryFolder, 'coffer-qemu-'));
  const socket = join(folder, 'socket');
  const server = new QemuNbd(path, socket, options);
  try {
    const disk = await connectTo(server, socket, options);
    return new QemuImage(disk, server, folder);
  } catch (error) {
    await server.end();
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Makes an image of holes. Fails with `target-unwritable` when there is a file of that name. */
export async function createQemuImage(
  path: string,
  sizeBytes: number,
  format: Exclude<QemuFormat, 'qcow2'>,
): Promise<void> {
  await callQemuImg(['create', '-q', '-f', format, path, String(sizeBytes)]);
  // What is in a backup is nobody else's.
  chmodSync(path, 0o600);
}

async function connectTo(
  server: QemuNbd,
  socket: string,
  { writable, clock }: QemuImageOptions,
): Promise<NbdDisk> {
  const giveUpAt = clock.now() + START_TIMEOUT_MS;
  for (;;) {
    try {
      return await openNbdDisk({
        address: unixAddress(socket, ''),
        tls: undefined,
        connectTimeoutMs: START_TIMEOUT_MS,
        requestTimeoutMs: REQUEST_TIMEOUT_MS,
        reconnectTimeoutMs: 0,
        writable,
        clock,
      });
    } catch (error) {
      if (server.failure) throw server.failure;
      if (!isCofferError(error, 'nbd-unreachable') || clock.now() > giveUpAt) throw error;
    }
    await clock.sleep(ATTEMPT_DELAY_MS);
  }
}

/** The process that serves an image. */
class QemuNbd {
  readonly #process: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #clock: Clock;
  failure: CofferError | undefined;
  #said = '';

  constructor(path: string, socket: string, { format, writable, clock }: QemuImageOptions) {
    this.#clock = clock;
    const args = [
      // The kernel kills it when this process dies, also when nothing of ours can run any more.
      ['--pdeathsig', 'KILL', 'qemu-nbd', '--persistent'],
      [`--socket=${socket}`, `--shared=${CONNECTIONS_MAX}`, '--export-name='],
      [writable ? '--discard=unmap' : '--read-only'],
      ['--image-opts', imageOptions(path, format)],
    ].flat();
    this.#process = spawn('setpriv', args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: toolEnvironment(),
    });
    this.#process.stderr?.on('data', (piece: Buffer) => {
      this.#said = lastWords(this.#said + piece.toString('utf8'));
    });
    this.#ended = new Promise((resolve) => {
      this.#process.once('error', (error) => {
        this.failure = toolFailure('setpriv', error, '');
        resolve();
      });
      this.#process.once('exit', (status) => {
        this.failure ??= this.#failureOf(status, path);
        resolve();
      });
    });
  }

  async end(): Promise<void> {
    // It flushes what it holds when it is asked to end.
    this.#process.kill('SIGTERM');
    const meetDeadline = startDeadline(this.#clock, END_TIMEOUT_MS, () => {
      this.#process.kill('SIGKILL');
    });
    await this.#ended;
    meetDeadline();
  }

  #failureOf(status: number | null, path: string): CofferError {
    // setpriv ends like a shell does when there is no such program.
    if (status === 127) {
      return new CofferError('tool-missing', { tool: 'qemu-nbd', package: 'qemu-utils' });
    }
    return new CofferError('image-damaged', { path, said: this.#said });
  }
}

class QemuImage implements WritableDisk {
  readonly sizeBytes: number;
  readonly #disk: NbdDisk;
  readonly #server: QemuNbd;
  readonly #folder: string;

  constructor(disk: NbdDisk, server: QemuNbd, folder: string) {
    this.sizeBytes = disk.sizeBytes;
    this.#disk = disk;
    this.#server = server;
    this.#folder = folder;
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    await this.#disk.read(offset, target);
  }

  extents(range?: ByteRange): AsyncIterable<Extent> {
    return this.#disk.extents(range);
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#disk.write(offset, bytes);
  }

  async zero(offset: number, length: number): Promise<void> {
    await this.#disk.zero(offset, length);
  }

  async flush(): Promise<void> {
    await this.#disk.flush();
  }

  async close(): Promise<void> {
    await this.#disk.close();
    await this.#server.end();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
