/**
 * What has changed between two definitions of a machine, as far as it matters to its points: a
 * machine is followed by its UUID through other names, and a disk by its target and its images.
 */
import type { DiskSource, DomainDisk } from './disk.ts';
import type { Domain } from './domain.ts';

export interface DomainState {
  readonly domain: Domain;
  /** By target, as far as it is known: definitions do not tell it. */
  readonly diskSizesBytes: ReadonlyMap<string, number>;
}

export type DomainChange =
  | { readonly kind: 'uuid'; readonly from: string; readonly to: string }
  | { readonly kind: 'name'; readonly from: string; readonly to: string }
  /** What the guest sees of its hardware and firmware: a restore brings back the older. */
  | {
      readonly kind: 'machine' | 'arch' | 'cpu' | 'firmware' | 'memory' | 'tpm';
      readonly from: string;
      readonly to: string;
    }
  | { readonly kind: 'disk-added' | 'disk-removed'; readonly target: string }
  /** Another image under the old name: nothing that was tracked is of use. */
  | { readonly kind: 'disk-replaced'; readonly target: string }
  /** The same image with another on top, or committed into one below (snapshots). */
  | { readonly kind: 'disk-chain'; readonly target: string }
  | {
      readonly kind: 'disk-format';
      readonly target: string;
      readonly from: string;
      readonly to: string;
    }
  | {
      readonly kind: 'disk-resized';
      readonly target: string;
      readonly fromBytes: number;
      readonly toBytes: number;
    };

/** Empty where a point of `after` follows one of `before` without anything to say. */
export function changesBetween(before: DomainState, after: DomainState): DomainChange[] {
  return [...machineChanges(before.domain, after.domain), ...diskChanges(before, after)];
}

function machineChanges(before: Domain, after: Domain): DomainChange[] {
  const facts = (domain: Domain) =>
    [
      ['uuid', domain.uuid],
      ['name', domain.name],
      ['machine', domain.machine ?? ''],
      ['arch', domain.arch],
      ['cpu', domain.cpuMode ?? ''],
      ['firmware', domain.boot.firmware ?? domain.boot.loader ?? ''],
      ['memory', String(domain.memory.sizeBytesMax)],
      ['tpm', domain.tpm ? `${domain.tpm.backend} ${domain.tpm.version ?? ''}`.trim() : ''],
    ] as const;
  const then = facts(before);
  return facts(after).flatMap(([kind, to], index) => {
    const from = then[index]![1];
    return from === to ? [] : [{ kind, from, to }];
  });
}

function diskChanges(before: DomainState, after: DomainState): DomainChange[] {
  const old = new Map(before.domain.disks.map((disk) => [disk.target, disk]));
  const now = new Set(after.domain.disks.map(({ target }) => target));
  const removed = before.domain.disks.filter(({ target }) => !now.has(target));
  return [
    ...removed.map(({ target }) => ({ kind: 'disk-removed', target }) as const),
    ...after.domain.disks.flatMap((disk) => {
      const was = old.get(disk.target);
      if (was === undefined) return [{ kind: 'disk-added', target: disk.target } as const];
      return [...imageChanges(was, disk), ...sizeChanges(disk.target, before, after)];
    }),
  ];
}

function imageChanges(was: DomainDisk, disk: DomainDisk): DomainChange[] {
  const { target } = disk;
  if (nameOf(was.source) === nameOf(disk.source)) {
    if (was.format === disk.format) return [];
    return [{ kind: 'disk-format', target, from: was.format, to: disk.format }];
  }
  return [{ kind: shareImage(was, disk) ? 'disk-chain' : 'disk-replaced', target }];
}

/** True where the image on top of one chain is part of the other. */
function shareImage(was: DomainDisk, disk: DomainDisk): boolean {
  const isIn = (source: DiskSource, chain: DomainDisk): boolean =>
    (chain.backing ?? []).some((image) => nameOf(image.source) === nameOf(source));
  return isIn(was.source, disk) || isIn(disk.source, was);
}

function sizeChanges(target: string, before: DomainState, after: DomainState): DomainChange[] {
  const fromBytes = before.diskSizesBytes.get(target);
  const toBytes = after.diskSizesBytes.get(target);
  if (fromBytes === undefined || toBytes === undefined || fromBytes === toBytes) return [];
  return [{ kind: 'disk-resized', target, fromBytes, toBytes }];
}

/** Two sources of one name are one image. */
function nameOf(source: DiskSource): string {
  return JSON.stringify(source);
}
