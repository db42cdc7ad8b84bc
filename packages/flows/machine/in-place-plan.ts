/**
 * What a restore in place does to each file of a machine, or why it cannot. Pure: all that is in the
 * way is found before anything is changed, so that a machine gets disks of one moment or keeps its own.
 */
import { basename, join } from 'node:path';
import { CofferError, type Finding, type FindingCode } from '@coffer/base';
import type { KnownDisk, KnownVm, Misfit } from '@coffer/workloads/vm-host.ts';
import type { VmManifest } from '../manifest.ts';

/** A root of the point, and the file or device that gets its content. */
export interface PlannedReplacement {
  readonly root: string;
  readonly path: string;
  readonly format: 'raw' | 'qcow2';
  readonly isDisk: boolean;
  /** `moved`: a new file takes the name. `kept`: what differs is written, what was there is kept. */
  readonly kind: 'moved' | 'kept';
}

export interface OriginalPlan {
  readonly replacements: readonly PlannedReplacement[];
  /** With any of them, nothing is restored. */
  readonly problems: readonly Misfit[];
  readonly findings: readonly Finding[];
}

export interface OriginalOptions {
  /** Writes only what differs, in place. */
  readonly delta: boolean;
  /** Of the disks of the point, by name. */
  readonly sizes: ReadonlyMap<string, number>;
}

const FORGOTTEN: Misfit = {
  kind: 'transient',
  message:
    'the machine is transient, and gone when it is stopped: define it first (virsh dumpxml, virsh define)',
};

/** Fails with `disk-not-found` when no disk of the point is one of the machine. */
export function planOriginal(
  vm: VmManifest,
  known: KnownVm,
  options: OriginalOptions,
): OriginalPlan {
  const pairs = vm.disks.flatMap(({ name }) => {
    const disk = known.disks.get(name);
    return disk ? [{ name, disk }] : [];
  });
  if (pairs.length === 0) throw new CofferError('disk-not-found', { vm: known.name });
  const { files, findings } = planStateFiles(vm, known);
  const disks = pairs.map(({ name, disk }) => replacementOf(name, disk, options));
  return {
    replacements: [...disks, ...files],
    problems: [
      ...(known.isTransient ? [FORGOTTEN] : []),
      ...pairs.flatMap(({ name, disk }) => problemsOf(name, disk, options)),
    ],
    findings: [
      ...unpaired(vm, known),
      ...findings,
      ...irrevocable(pairs, options),
      ...leftByThemselves(pairs),
    ],
  };
}

/** Of a machine that is gone: its files, where they were. */
export function planAgain(vm: VmManifest, known: KnownVm): OriginalPlan {
  const { files, findings } = planStateFiles(vm, known);
  const replacements: PlannedReplacement[] = [...files];
  const problems: Misfit[] = [];
  for (const { name } of vm.disks) {
    const disk = known.disks.get(name);
    if (!disk) throw new CofferError('disk-not-found', { disk: name });
    replacements.push(replacementOf(name, disk, { delta: false }));
    if (disk.kind === 'device') {
      const message = `disk ${name} is the device ${disk.path}, which may hold something else by now`;
      problems.push({ kind: 'disk', message });
    } else problems.push(...problemsOf(name, disk, { delta: false, sizes: new Map() }));
  }
  return { replacements, problems, findings };
}

function replacementOf(
  root: string,
  { kind, path, format }: KnownDisk,
  { delta }: Pick<OriginalOptions, 'delta'>,
): PlannedReplacement {
  const isInPlace = delta || kind !== 'file';
  const written = format === 'qcow2' ? 'qcow2' : 'raw';
  return { root, path, format: written, isDisk: true, kind: isInPlace ? 'kept' : 'moved' };
}

function problemsOf(name: string, disk: KnownDisk, options: OriginalOptions): Misfit[] {
  const reason = whyNoOtherContent(disk);
  if (reason !== undefined) return [{ kind: 'disk', message: `disk ${name} ${reason}` }];
  if (!options.delta && disk.kind === 'file') return [];
  const other = whyNotInPlace(disk, options.sizes.get(name) ?? 0);
  return other === undefined ? [] : [{ ...other, message: `disk ${name} ${other.message}` }];
}

function whyNoOtherContent({ kind, path, format, isEncrypted }: KnownDisk): string | undefined {
  if (kind === 'other') return `is ${path}, which cannot be written`;
  if (isEncrypted) return 'is encrypted, and would be so no more';
  if (format === 'raw' || format === 'qcow2') return undefined;
  return `is an image of format ${format}, which is not written`;
}

function whyNotInPlace(
  { path, hasDataFile, sizeBytes }: KnownDisk,
  needed: number,
): Misfit | undefined {
  if (hasDataFile) return { kind: 'disk-in-place', message: 'has its data in a file of their own' };
  if (sizeBytes === undefined) return { kind: 'disk', message: `cannot be opened: ${path}` };
  if (sizeBytes >= needed) return undefined;
  return { kind: 'disk', message: `(${path}) has ${sizeBytes} bytes, ${needed} are needed` };
}

/** Disks that only one side has stay as they are. */
function unpaired(vm: VmManifest, known: KnownVm): Finding[] {
  const stored = vm.disks.map(({ name }) => name);
  const missing = stored.filter((name) => !known.disks.has(name));
  const others = [...known.disks.keys()].filter((name) => !stored.includes(name));
  return [
    ...missing.map((name) => aboutDisk('disk-not-restored', name)),
    ...others.map((name) => aboutDisk('disk-untouched', name)),
  ];
}

function aboutDisk(code: FindingCode, name: string, details: Finding['details'] = {}): Finding {
  return { code, subject: { kind: 'disk', name }, details };
}

interface NamedDisk {
  readonly name: string;
  readonly disk: KnownDisk;
}

/** A new image needs no data file; the old one does, until it is accepted that it goes. */
function leftByThemselves(pairs: readonly NamedDisk[]): Finding[] {
  return pairs
    .filter(({ disk }) => disk.hasDataFile)
    .map(({ name, disk: { path } }) => aboutDisk('data-file-left', name, { path }));
}

/** Who asks for a delta knows; a device is changed in place without being asked. */
function irrevocable(pairs: readonly NamedDisk[], { delta }: OriginalOptions): Finding[] {
  if (delta) return [];
  const devices = pairs.filter(({ disk }) => disk.kind === 'device');
  return devices.map(({ name, disk: { path } }) => aboutDisk('changed-in-place', name, { path }));
}

/**
 * Firmware variables and the state of a TPM belong to the disks, and go to where the machine has them
 * now; kernels are shared with others.
 */
function planStateFiles(
  vm: VmManifest,
  known: KnownVm,
): { files: PlannedReplacement[]; findings: Finding[] } {
  const files: PlannedReplacement[] = [];
  const findings: Finding[] = [];
  for (const { name: root, role, path: oldPath } of vm.files) {
    if (role !== 'nvram' && role !== 'tpm') continue;
    const path = role === 'nvram' ? known.nvramPath : tpmPathOf(oldPath, known);
    if (path !== undefined) files.push({ root, path, format: 'raw', isDisk: false, kind: 'moved' });
    else
      findings.push({
        code: NO_PLACE[role],
        subject: { kind: 'path', name: oldPath },
        details: {},
      });
  }
  return { files, findings };
}

const NO_PLACE = {
  nvram: 'variables-not-restored',
  tpm: 'tpm-state-not-restored',
} as const;

/** libvirt finds the state below the UUID of the machine, in a folder of its own. */
function tpmPathOf(oldPath: string, { hasTpm, tpmFolder }: KnownVm): string | undefined {
  if (!hasTpm) return undefined;
  return tpmFolder === undefined ? oldPath : join(tpmFolder, basename(oldPath));
}
