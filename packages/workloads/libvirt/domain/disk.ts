/** A disk of a domain, as its definition says (libvirt: Hard drives, floppy disks, CD-ROMs). */
import { attributeOf, childrenOf, find, malformed, textAt, type XmlElement } from './xml.ts';

export interface DomainDisk {
  /** The name that the host gives to the disk (`vda`); unique in a domain. */
  readonly target: string;
  readonly bus: string | undefined;
  readonly device: 'disk' | 'cdrom' | 'floppy' | 'lun';
  /** Of the topmost image: `qcow2`, `raw`, ... A definition without one means raw. */
  readonly format: string;
  readonly source: DiskSource;
  /** Of the image in QEMU, while the machine runs; its node is `libvirt-INDEX-format`. */
  readonly index: string | undefined;
  /** What the image lies on, nearest first. Undefined where the definition does not show it. */
  readonly backing: readonly BackingImage[] | undefined;
  readonly isReadOnly: boolean;
  /** Other machines may write to it at the same time. */
  readonly isShareable: boolean;
  /** Writes are thrown away when the machine stops. */
  readonly isTransient: boolean;
  readonly bootOrder: number | undefined;
  readonly serial: string | undefined;
  readonly wwn: string | undefined;
  readonly encryption: DiskEncryption | undefined;
  /** Attributes of `<driver>` as they are: `cache`, `discard`, `io`, ... */
  readonly driver: Readonly<Record<string, string>>;
}

export interface BackingImage {
  readonly format: string;
  readonly source: DiskSource;
}

export type DiskSource =
  | { readonly kind: 'file' | 'block' | 'dir'; readonly path: string }
  | NetworkSource
  | { readonly kind: 'volume'; readonly pool: string; readonly volume: string }
  /** Known to libvirt, but not as something that can be named: vhost-user, NVMe, ... */
  | { readonly kind: 'other'; readonly type: string }
  /** An empty drive. */
  | { readonly kind: 'none' };

export interface NetworkSource {
  readonly kind: 'network';
  readonly protocol: string;
  /** Name of the export, image or path at the server. */
  readonly name: string;
  /** `host:port`, or the path of a socket. */
  readonly hosts: readonly string[];
}

export interface DiskEncryption {
  /** `luks`, `qcow`, ... */
  readonly format: string;
  /** UUID, or usage, of the secret of libvirt that opens it. */
  readonly secret: string | undefined;
}

const TARGET = /^[A-Za-z][A-Za-z0-9_]{0,63}$/;
const DEVICES = ['disk', 'cdrom', 'floppy', 'lun'] as const;

/** Fails with `libvirt-failed` when the element is not a disk as libvirt writes it. */
export function parseDisk(disk: XmlElement): DomainDisk {
  const target = parseTarget(disk);
  const { format, source } = imageOf(disk, target);
  return {
    target,
    bus: attributeOf(find(disk, 'target'), 'bus'),
    device: parseDevice(disk, target),
    format,
    source,
    index: attributeOf(find(disk, 'source'), 'index'),
    backing: parseBacking(disk, target),
    isReadOnly: find(disk, 'readonly') !== undefined,
    isShareable: find(disk, 'shareable') !== undefined,
    isTransient: find(disk, 'transient') !== undefined,
    bootOrder: parseOrder(disk, target),
    serial: textAt(disk, 'serial'),
    wwn: textAt(disk, 'wwn'),
    encryption: parseEncryption(disk),
    driver: { ...find(disk, 'driver')?.attributes },
  };
}

function parseTarget(disk: XmlElement): string {
  const target = attributeOf(find(disk, 'target'), 'dev') ?? '';
  if (TARGET.test(target)) return target;
  throw malformed('target of a disk', target);
}

function parseDevice(disk: XmlElement, target: string): DomainDisk['device'] {
  const said = attributeOf(disk, 'device') ?? 'disk';
  const device = DEVICES.find((known) => known === said);
  if (device === undefined) throw malformed(`device of disk ${target}`, said);
  return device;
}

function parseOrder(disk: XmlElement, target: string): number | undefined {
  const said = attributeOf(find(disk, 'boot'), 'order');
  if (said === undefined) return undefined;
  if (!/^[1-9]\d{0,5}$/.test(said)) throw malformed(`boot order of disk ${target}`, said);
  return Number(said);
}

/** One step of a chain: `<disk>` names its format in `<driver>`, `<backingStore>` in `<format>`. */
function imageOf(step: XmlElement, target: string): BackingImage {
  const format = attributeOf(find(step, 'driver') ?? find(step, 'format'), 'type') ?? 'raw';
  return { format, source: parseSource(step, target) };
}

function parseBacking(disk: XmlElement, target: string): BackingImage[] | undefined {
  let at = find(disk, 'backingStore');
  if (at === undefined) return undefined;
  const chain: BackingImage[] = [];
  // An empty element is the end of the chain; none means that libvirt has not looked further.
  while (at !== undefined && childrenOf(at).length > 0) {
    chain.push(imageOf(at, target));
    at = find(at, 'backingStore');
  }
  return chain;
}

function parseSource(step: XmlElement, target: string): DiskSource {
  const source = find(step, 'source');
  const type = attributeOf(step, 'type') ?? 'file';
  if (source === undefined) return { kind: 'none' };
  const value = (name: string): string | undefined => attributeOf(source, name);
  switch (type) {
    case 'file':
      return pathSource('file', value('file'));
    case 'block':
      return pathSource('block', value('dev'));
    case 'dir':
      return pathSource('dir', value('dir'));
    case 'network':
      return parseNetworkSource(source, target);
    case 'volume': {
      const [pool, volume] = [value('pool'), value('volume')];
      if (!pool || !volume) throw malformed(`volume of disk ${target}`, `${pool}/${volume}`);
      return { kind: 'volume', pool, volume };
    }
    default:
      return { kind: 'other', type };
  }
}

function pathSource(kind: 'file' | 'block' | 'dir', path: string | undefined): DiskSource {
  return path === undefined || path === '' ? { kind: 'none' } : { kind, path };
}

function parseNetworkSource(source: XmlElement, target: string): NetworkSource {
  const protocol = attributeOf(source, 'protocol');
  if (!protocol) throw malformed(`protocol of disk ${target}`);
  const hosts = childrenOf(source, 'host').map(
    (host) => attributeOf(host, 'socket') ?? joinHost(host),
  );
  return { kind: 'network', protocol, name: attributeOf(source, 'name') ?? '', hosts };
}

function joinHost(host: XmlElement): string {
  const port = attributeOf(host, 'port');
  const name = attributeOf(host, 'name') ?? '';
  return port === undefined ? name : `${name}:${port}`;
}

/** Older definitions have it in `<disk>`, newer in `<source>`. */
function parseEncryption(disk: XmlElement): DiskEncryption | undefined {
  const encryption = find(disk, 'encryption') ?? find(disk, 'source', 'encryption');
  if (encryption === undefined) return undefined;
  const secret = find(encryption, 'secret');
  return {
    format: attributeOf(encryption, 'format') ?? 'default',
    secret: attributeOf(secret, 'uuid') ?? attributeOf(secret, 'usage'),
  };
}
