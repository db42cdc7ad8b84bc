/** Disks of a restored machine: other images below the same devices. */
import { CofferError } from '@coffer/base';
import type { RewriteFinding } from './rewrite-finding.ts';
import {
  append,
  attributeOf,
  childrenOf,
  element,
  find,
  removeNamed,
  removeWhere,
  setAttribute,
  type XmlElement,
} from './xml.ts';

/** Where the image of a disk is now. */
export interface DiskPlace {
  readonly kind: 'file' | 'block';
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
  /** The machine pauses where the image cannot be read or written, instead of seeing errors. */
  readonly pausesOnError?: boolean;
}

/** Of the old image, or of a job that ran on it. */
const OF_THE_OLD_IMAGE = ['backingStore', 'mirror', 'auth', 'encryption', 'shareable'];

/** Fails with `disk-not-found` when the machine has no disk of such a target. */
export function rewriteDisks(
  root: XmlElement,
  places: ReadonlyMap<string, DiskPlace>,
): RewriteFinding[] {
  const devices = find(root, 'devices');
  const disks = childrenOf(devices, 'disk');
  const targets = new Set(disks.map(targetOf));
  for (const disk of places.keys()) {
    if (!targets.has(disk)) throw new CofferError('disk-not-found', { disk });
  }
  const dropped = new Set<XmlElement>();
  const findings = disks.flatMap((disk) => {
    const place = places.get(targetOf(disk));
    if (place) return replaceImage(disk, place);
    if (isDriveForMedia(disk)) return eject(disk);
    dropped.add(disk);
    return [{ code: 'disk-dropped', device: targetOf(disk) } as const];
  });
  if (devices) removeWhere(devices, (device) => dropped.has(device));
  return findings;
}

function targetOf(disk: XmlElement): string {
  return attributeOf(find(disk, 'target'), 'dev') ?? '';
}

function isDriveForMedia(disk: XmlElement): boolean {
  return ['cdrom', 'floppy'].includes(attributeOf(disk, 'device') ?? '');
}

function replaceImage(disk: XmlElement, place: DiskPlace): RewriteFinding[] {
  const wasEncrypted = Boolean(find(disk, 'encryption') ?? find(disk, 'source', 'encryption'));
  clear(disk, place.kind);
  append(disk, element('source', { [place.kind === 'file' ? 'file' : 'dev']: place.path }));
  replaceDriver(disk, place);
  becomePlainDisk(disk);
  return wasEncrypted ? [{ code: 'encryption-dropped', device: targetOf(disk) }] : [];
}

function clear(disk: XmlElement, type: 'file' | 'block'): void {
  removeNamed(disk, 'source', ...OF_THE_OLD_IMAGE);
  setAttribute(disk, 'type', type);
}

function replaceDriver(disk: XmlElement, { format, pausesOnError = false }: DiskPlace): void {
  const driver = find(disk, 'driver') ?? element('driver');
  setAttribute(driver, 'name', 'qemu');
  setAttribute(driver, 'type', format);
  if (format !== 'qcow2') removeNamed(driver, 'metadata_cache');
  if (pausesOnError) {
    setAttribute(driver, 'error_policy', 'stop');
    setAttribute(driver, 'rerror_policy', 'stop');
  }
  if (!find(disk, 'driver')) append(disk, driver);
}

/** A file takes no commands that a guest sends to a device of the host. */
function becomePlainDisk(disk: XmlElement): void {
  if (attributeOf(disk, 'device') === 'lun') setAttribute(disk, 'device', 'disk');
  setAttribute(disk, 'rawio', undefined);
  setAttribute(disk, 'sgio', undefined);
}

function eject(drive: XmlElement): RewriteFinding[] {
  const hadMedium = find(drive, 'source') !== undefined;
  clear(drive, 'file');
  return hadMedium ? [{ code: 'medium-ejected', device: targetOf(drive) }] : [];
}
