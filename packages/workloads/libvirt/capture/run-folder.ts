/**
 * Where QEMU keeps what a backup needs: the socket, and scratch files for what the guest overwrites.
 * A run that was killed leaves its folder; the next one of the machine finds it by its name, and in it
 * marks of what was done to the machine and has to be undone.
 */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import {
  CofferError,
  isOutOfSpace,
  type ProcessIdentity,
  systemErrorCode,
  systemProcesses,
} from '@coffer/base';
import * as v from 'valibot';
import type { Domain } from '../connection.ts';
import type { User } from '../host/capabilities.ts';
import { giveFolderTo } from '../host/qemu-user.ts';

/** Beginning of the UUID: sockets must have short paths. */
const NAME_LENGTH = 8;
/** Says which process uses the folder. */
const OWNER = 'owner';

const Owner = v.object({
  bootId: v.string(),
  pidNamespace: v.string(),
  processId: v.number(),
  startedAtTicks: v.number(),
});

/** What was done to the machine: `frozen` stays until applications and file systems go on again. */
const MARKS = ['frozen', 'suspended', 'started'] as const;
export type Mark = (typeof MARKS)[number];

const SCRATCH = '.scratch';
const BLOCK_SIZE_BYTES = 512;

export class RunFolder {
  readonly path: string;
  readonly socketPath: string;

  constructor(scratchFolder: string, uuid: string) {
    this.path = join(scratchFolder, `coffer-vm-${uuid.slice(0, NAME_LENGTH)}`);
    this.socketPath = join(this.path, 'nbd');
  }

  /** The folder of a run of the machine, by its socket; undefined when that is of something else. */
  static ofSocket(socketPath: string, uuid: string): RunFolder | undefined {
    const folder = new RunFolder(dirname(dirname(socketPath)), uuid);
    return folder.socketPath === socketPath ? folder : undefined;
  }

  get memoryPath(): string {
    return join(this.path, 'memory');
  }

  scratchPath(target: string): string {
    return join(this.path, target + SCRATCH);
  }

  /**
   * Makes the folder, for the user that QEMU runs as. Only one run can; fails with `vm-busy`
   * otherwise. It gets its name when it says whose it is: without an owner it would be left over.
   */
  make(user: User | undefined): void {
    const { path } = this;
    let partial: string | undefined;
    try {
      mkdirSync(dirname(path), { recursive: true });
      partial = mkdtempSync(`${path}.`);
      giveFolderTo(user, partial);
      writeFileSync(join(partial, OWNER), JSON.stringify(systemProcesses.own ?? ''));
    } catch (error) {
      if (partial !== undefined) rmSync(partial, { recursive: true, force: true });
      const code = isOutOfSpace(error) ? 'scratch-full' : 'target-unwritable';
      throw new CofferError(code, { path, reason: systemErrorCode(error) }, error);
    }
    try {
      renameSync(partial, path);
    } catch (error) {
      rmSync(partial, { recursive: true, force: true });
      // Another run was faster, by a moment.
      throw new CofferError('vm-busy', { path }, error);
    }
  }

  /**
   * The process that made the folder, while it lives: then nothing in it is left over. In another
   * container it counts as alive as long as the host runs, since nobody can tell from here.
   */
  liveOwner(): number | undefined {
    const owner = parseOwner(this.#read(OWNER));
    if (owner?.bootId !== systemProcesses.own?.bootId) return undefined;
    return owner && !systemProcesses.hasEnded(owner) ? owner.processId : undefined;
  }

  mark(mark: Mark, detail = ''): void {
    writeFileSync(join(this.path, mark), detail);
  }

  /** With when a watchdog thaws the guest, where one runs in it. */
  markFrozen({ id }: Domain, selfThawsAt?: number): void {
    this.mark('frozen', `${id} ${selfThawsAt ?? ''}`);
  }

  /** Undefined when the machine was started again since: it is another guest then. */
  markedFrozen({ id }: Domain): { readonly selfThawsAt: number | undefined } | undefined {
    const [ofId, selfThawsAt = ''] = this.marked('frozen')?.split(' ') ?? [];
    if (ofId !== String(id)) return undefined;
    return { selfThawsAt: selfThawsAt === '' ? undefined : Number(selfThawsAt) };
  }

  unmark(mark: Mark): void {
    rmSync(join(this.path, mark), { force: true });
  }

  /** What was told with the mark; undefined where there is none. */
  marked(mark: Mark): string | undefined {
    return this.#read(mark);
  }

  /** What the scratch files take on their disk. */
  scratchBytes(): number {
    let bytes = 0;
    for (const name of readdirSync(this.path)) {
      if (!name.endsWith(SCRATCH)) continue;
      const stats = statSync(join(this.path, name), { throwIfNoEntry: false });
      bytes += (stats?.blocks ?? 0) * BLOCK_SIZE_BYTES;
    }
    return bytes;
  }

  /** Removes it. Where something is to be done to the machine still, that stays for the next run. */
  leave(): void {
    const isHeld = MARKS.some((mark) => this.marked(mark) !== undefined);
    rmSync(isHeld ? join(this.path, OWNER) : this.path, { recursive: true, force: true });
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }

  #read(name: string): string | undefined {
    try {
      return readFileSync(join(this.path, name), 'utf8');
    } catch {
      return undefined;
    }
  }
}

/** Undefined for what nobody writes any more. */
function parseOwner(text: string | undefined): ProcessIdentity | undefined {
  try {
    return v.parse(Owner, JSON.parse(text ?? ''));
  } catch {
    return undefined;
  }
}
