/** A host with one machine, and points of it, for faults that a real host cannot be made to show. */
import { closeSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { testRun } from '@coffer/base/testing/run.ts';
import { memoryDisk } from '@coffer/file-system/testing/memory-disk.ts';
import type { RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import { DISK_CHUNK_BYTES } from '@coffer/repository/testing/test-repository.ts';
import type { CapturedFile } from '@coffer/workloads/vm-capture.ts';
import type { KnownDisk, KnownVm, VmHost } from '@coffer/workloads/vm-host.ts';
import { backupVms } from '../../backup/vms.ts';

export const VM_UUID = '11111111-2222-4333-8444-555555555555';
const DISK = 'vda';

export interface FakeVmHost extends VmHost {
  /** What was done to the machine. */
  readonly calls: string[];
  readonly machine: { isThere: boolean; isOff: boolean; isSaved: boolean };
}

/** As a host has it: off, with raw images that are files, where nothing else is said. */
export function knownVm(
  disks: Readonly<Record<string, Partial<KnownDisk>>>,
  more: Partial<KnownVm> = {},
): KnownVm {
  const isEncrypted = false;
  const raw = { kind: 'file', path: '', format: 'raw', isEncrypted, hasDataFile: false } as const;
  const known = Object.entries(disks).map(([name, disk]): [string, KnownDisk] => {
    return [name, { ...raw, path: `/images/${name}`, sizeBytes: 100, pool: undefined, ...disk }];
  });
  return {
    name: 'web',
    uuid: VM_UUID,
    isOff: true,
    isSaved: false,
    isTransient: false,
    disks: new Map(known),
    nvramPath: undefined,
    hasTpm: false,
    tpmFolder: undefined,
    ...more,
  };
}

/** It has the machine, which is off, with one raw image. */
export function fakeVmHost(image: string, faults: Partial<VmHost> = {}): FakeVmHost {
  const calls: string[] = [];
  const machine = { isThere: true, isOff: true, isSaved: false };
  const known = (): KnownVm => {
    const sizeBytes = statSync(image, { throwIfNoEntry: false })?.size;
    return { ...knownVm({ [DISK]: { path: image, sizeBytes } }), ...machine };
  };
  const unused = async (): Promise<never> => {
    throw new Error('no test needs it');
  };
  return {
    calls,
    machine,
    misfits: async () => [],
    define: async ({ uuid = VM_UUID }) => ({ uuid, findings: [] }),
    defineAgain: async () => {},
    find: async () => (machine.isThere ? known() : undefined),
    read: async () => known(),
    othersUsing: async () => new Map(),
    start: async () => {
      calls.push('start');
      machine.isOff = false;
    },
    goOn: async () => {},
    stop: async () => {
      calls.push('stop');
      machine.isOff = true;
    },
    forgetTracking: async () => {},
    remove: async () => {
      calls.push('remove');
      machine.isThere = false;
    },
    folderProblems: async () => [],
    giveFiles: async () => {},
    resumeAfterError: unused,
    moveDisk: unused,
    startTrial: unused,
    poolFolder: unused,
    refreshPool: unused,
    ...faults,
  };
}

/** An image of chunks that are all of one byte each. */
export function writeChunks(path: string, ...values: readonly number[]): void {
  writeFileSync(path, Buffer.concat(values.map((value) => Buffer.alloc(DISK_CHUNK_BYTES, value))));
}

/** As a guest writes it: in place. */
export function overwriteChunk(path: string, index: number, value: number): void {
  const fd = openSync(path, 'r+');
  writeSync(
    fd,
    Buffer.alloc(DISK_CHUNK_BYTES, value),
    0,
    DISK_CHUNK_BYTES,
    index * DISK_CHUNK_BYTES,
  );
  closeSync(fd);
}

export function chunksIn(path: string): number[] {
  const bytes = readFileSync(path);
  return Array.from({ length: bytes.length / DISK_CHUNK_BYTES }, (_each, index) => {
    return bytes[index * DISK_CHUNK_BYTES]!;
  });
}

export interface PointOptions {
  readonly files?: readonly CapturedFile[];
  /** When what was captured is given back. */
  readonly onDispose?: () => Promise<void>;
}

/** A point of the machine with an image as it is now. */
export async function pointOf(
  repository: UnlockedRepository,
  image: string,
  options: PointOptions = {},
): Promise<RecoveryPoint> {
  const { point } = await backUp(repository, image, options);
  return (await repository.points()).find(({ id }) => id === point)!;
}

export async function backUp(
  repository: UnlockedRepository,
  image: string,
  { files = [], onDispose = async () => {} }: PointOptions,
) {
  const disk = memoryDisk(readFileSync(image));
  const captured = { name: DISK, format: 'raw', path: image, identities: [image], disk };
  const [result] = await backupVms(testRun(), {
    repository,
    sources: [{ name: 'web', uuid: VM_UUID, path: 'web' }],
    item: undefined,
    checks: false,
    readsSwap: true,
    tags: {},
    capture: async () => [
      {
        name: 'web',
        uuid: VM_UUID,
        xml: '<domain/>',
        consistency: { level: 'off', reason: undefined, isFailure: false, frozenMs: 0 },
        checkpoint: undefined,
        disks: [{ ...captured, changes: undefined, reason: undefined }],
        files,
        excluded: [],
        signal: new AbortController().signal,
        findings: [],
        explain: async (error) => error,
        keep: async () => {},
        [Symbol.asyncDispose]: onDispose,
      },
    ],
  });
  return result!;
}
