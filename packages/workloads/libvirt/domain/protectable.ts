/**
 * Whether and how each disk of a machine can be protected. QEMU keeps what tracks changes in images of
 * format qcow2 only, and not in those of its version 2, which libvirt makes still; all others are read
 * whole and compared. So are images on servers: bitmaps tell when something has changed, but not in
 * which image, and two that have changed their places would be mixed.
 */
import { CofferError } from '@coffer/base';
import type { DomainDisk } from './disk.ts';
import type { Domain } from './domain.ts';

/** In order of precedence: the first that applies is the one that is told. */
const EXCLUSIONS = {
  'by-request': { text: 'excluded as asked for' },
  removable: { text: 'a medium that can be taken out' },
  'no-source': { text: 'has no image' },
  'pass-through': {
    text: 'the guest talks to the device itself, past QEMU',
    remedy: "define it with device='disk' instead of 'lun', or back it up inside of the guest",
  },
  'unknown-source': {
    text: 'lies on something that QEMU cannot back up',
    remedy: 'back it up inside of the guest',
  },
  'host-folder': { text: 'shows a folder of the host', remedy: 'back up the folder itself' },
  'read-only': { text: 'read-only for the guest' },
  shared: {
    text: 'other machines may write to it',
    remedy: 'back it up inside of one of its guests, or remove <shareable/>',
  },
  transient: {
    text: 'its writes are thrown away when the machine stops',
    remedy: 'remove <transient/> to keep them',
  },
} as const satisfies Record<string, { readonly text: string; readonly remedy?: string }>;

export type ExclusionCode = keyof typeof EXCLUSIONS;

/** QEMU calls it `compat=1.1`. */
const FIRST_VERSION_WITH_BITMAPS = 3;

export type DiskJudgement =
  /** Only what has changed is read. */
  | { readonly disk: DomainDisk; readonly protection: 'incremental' }
  /** Read whole each time; only what has changed is stored. */
  | {
      readonly disk: DomainDisk;
      readonly protection: 'full-compare';
      readonly text: string;
      readonly remedy: string | undefined;
      /** It would be incremental in a newer version of its format. */
      readonly isOutdated: boolean;
    }
  | {
      readonly disk: DomainDisk;
      readonly protection: 'excluded';
      readonly code: ExclusionCode;
      readonly text: string;
      readonly remedy: string | undefined;
    };

export interface JudgeOptions {
  /** Targets of disks that are not to be protected. */
  readonly exclude: readonly string[];
  /** Of qcow2 images, by target, as far as they are known; else they are taken for recent ones. */
  readonly versions: ReadonlyMap<string, number>;
}

/** In the order of the definition. Fails with `usage` when a disk to exclude is not there. */
export function judgeDisks(domain: Domain, { exclude, versions }: JudgeOptions): DiskJudgement[] {
  const unknown = exclude.filter((name) => !domain.disks.some(({ target }) => target === name));
  if (unknown.length > 0) {
    const known = domain.disks.map(({ target }) => target).join(' ');
    const details = { reason: 'no such disk to exclude', disk: unknown.join(' '), known };
    throw new CofferError('usage', details);
  }
  return domain.disks.map((disk) => {
    const byRequest = exclude.includes(disk.target);
    return judge(disk, domain, { byRequest, version: versions.get(disk.target) });
  });
}

function judge(
  disk: DomainDisk,
  domain: Domain,
  { byRequest, version }: { readonly byRequest: boolean; readonly version: number | undefined },
): DiskJudgement {
  const code = byRequest ? 'by-request' : exclusionOf(disk);
  if (code !== undefined) {
    const row: { text: string; remedy?: string } = EXCLUSIONS[code];
    return { disk, protection: 'excluded', code, text: row.text, remedy: row.remedy };
  }
  if (disk.format !== 'qcow2') {
    const text = `what changes is not tracked in ${disk.format} images`;
    const remedy = conversionOf(disk, domain);
    return { disk, protection: 'full-compare', text, remedy, isOutdated: false };
  }
  if (imagePathOf(disk) === undefined) {
    const text = 'its image is not on this host, where it could be told from another';
    return { disk, protection: 'full-compare', text, remedy: undefined, isOutdated: false };
  }
  if (version === undefined || version >= FIRST_VERSION_WITH_BITMAPS) {
    return { disk, protection: 'incremental' };
  }
  const text = `what changes is not tracked in qcow2 images of version ${version}`;
  const remedy = amendmentOf(disk);
  return { disk, protection: 'full-compare', text, remedy, isOutdated: true };
}

function exclusionOf(disk: DomainDisk): ExclusionCode | undefined {
  if (disk.device === 'cdrom' || disk.device === 'floppy') return 'removable';
  if (disk.source.kind === 'none') return 'no-source';
  if (disk.device === 'lun') return 'pass-through';
  if (disk.source.kind === 'other' && disk.source.type !== 'nvme') return 'unknown-source';
  if (disk.source.kind === 'dir') return 'host-folder';
  if (disk.isReadOnly) return 'read-only';
  if (disk.isShareable) return 'shared';
  return disk.isTransient ? 'transient' : undefined;
}

/** Files only: on a block device or a server, raw is usually meant. */
function conversionOf(disk: DomainDisk, domain: Domain): string | undefined {
  if (disk.source.kind !== 'file') return undefined;
  const from = quote(disk.source.path);
  const to = quote(`${disk.source.path}.qcow2`);
  return (
    `while the machine is off: qemu-img convert -f ${disk.format} -O qcow2 ${from} ${to}` +
    `, then name it with type='qcow2' in: virsh edit ${quote(domain.name)}`
  );
}

/** What lies on it needs no change. */
function amendmentOf(disk: DomainDisk): string | undefined {
  const path = imagePathOf(disk);
  if (path === undefined) return undefined;
  return `while the machine is off: qemu-img amend -f qcow2 -o compat=1.1 ${quote(path)}`;
}

/** For a shell. */
function quote(word: string): string {
  return /^[\w./@:+-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** Where the image of a disk is on the host; undefined where it is not a file or a device. */
export function imagePathOf({ source }: DomainDisk): string | undefined {
  return source.kind === 'file' || source.kind === 'block' ? source.path : undefined;
}
