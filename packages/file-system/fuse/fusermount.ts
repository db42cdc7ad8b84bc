/**
 * `fusermount3`, which mounts and unmounts without privileges.
 *
 * A mount whose process is gone is a folder that nobody can enter. So a guard, a shell that waits on
 * a pipe from this process, unmounts when the pipe ends, in whatever way this process did. (The
 * option `auto_unmount` is meant for that; in common versions it does nothing for users other than
 * root.)
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { finished } from 'node:stream/promises';
import { CofferError, systemErrorCode, toolEnvironment } from '@coffer/base';
import { receiveDescriptor, socketPair } from './descriptor.ts';

const TOOL = 'fusermount3';
const GUARD = `read -r _; exec ${TOOL} -u -z -q -- "$1"`;
/** What a failing `fusermount3` says is a line or two. */
const COMPLAINT_CHARACTERS_MAX = 2000;

export class MountedFolder {
  /** Of the FUSE device; whoever takes it closes it. */
  readonly fd: number;
  readonly #folder: string;
  readonly #guard: ChildProcess;

  private constructor(folder: string, fd: number, guard: ChildProcess) {
    this.#folder = folder;
    this.fd = fd;
    this.#guard = guard;
  }

  /** Fails with `mount-failed`, or with `tool-missing`. `options` are those of mount(8). */
  static async mount(folder: string, options: readonly string[]): Promise<MountedFolder> {
    const [socket, theirs] = socketPair();
    const guard = guardOf(folder);
    const program = new Program(['-o', options.join(','), '--', folder], theirs);
    // Only the program has it now, so that its end is the end of the stream.
    closeSync(theirs);
    const fd = await receiveDescriptor(socket);
    closeSync(socket);
    if (fd !== undefined) return new MountedFolder(folder, fd, guard);
    guard.kill('SIGKILL');
    throw await program.failure(folder);
  }

  /** For a mount that was ended by others: the folder is not ours any more. */
  release(): void {
    this.#guard.kill('SIGKILL');
  }

  /** After the device was closed; also while files are open. Fails with `mount-failed`. */
  async unmount(): Promise<void> {
    const program = new Program(['-u', '-z', '--', this.#folder], 'ignore');
    if (!(await program.hasSucceeded()) && (await isDeadMount(this.#folder))) {
      throw await program.failure(this.#folder);
    }
    this.release();
  }
}

/** It has a session of its own, so that no signal from a terminal ends it before its time. */
function guardOf(folder: string): ChildProcess {
  const stdio = ['pipe', 'ignore', 'ignore'] as const;
  const guard = spawn('/bin/sh', ['-c', GUARD, 'sh', folder], {
    stdio: [...stdio],
    detached: true,
    env: toolEnvironment(),
  });
  // Without a guard a mount works as well; it would only stay behind when this process is killed.
  guard.on('error', () => {});
  guard.unref();
  return guard;
}

async function isDeadMount(folder: string): Promise<boolean> {
  try {
    await statfs(folder);
    return false;
  } catch (error) {
    return systemErrorCode(error) === 'ENOTCONN';
  }
}

/** A run of `fusermount3`. */
class Program {
  readonly #child: ChildProcess;
  readonly #exit: Promise<unknown>;
  #complaint = '';

  constructor(args: readonly string[], socket: number | 'ignore') {
    this.#child = spawn(TOOL, args, {
      stdio: ['ignore', 'ignore', 'pipe', socket],
      env: toolEnvironment({ _FUSE_COMMFD: '3', LC_ALL: 'C' }),
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#complaint = `${this.#complaint}${text}`.slice(0, COMPLAINT_CHARACTERS_MAX);
    });
    this.#exit = once(this.#child, 'exit').then(
      () => undefined,
      (error: unknown) => error,
    );
  }

  async hasSucceeded(): Promise<boolean> {
    await this.#exit;
    return this.#child.exitCode === 0;
  }

  async failure(folder: string): Promise<CofferError> {
    const error = await this.#exit;
    if (error) return new CofferError('tool-missing', { tool: TOOL, package: 'fuse3' }, error);
    if (this.#child.stderr) await finished(this.#child.stderr).catch(() => {});
    const reason = this.#complaint.trim() || 'no reason given';
    return new CofferError('mount-failed', { folder, reason });
  }
}
