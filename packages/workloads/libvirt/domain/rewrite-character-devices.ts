/** Serial ports, consoles and channels: what they lead to in the host is replaced. */
import { pathsBelow } from './paths.ts';
import type { RewriteFinding } from './rewrite-finding.ts';
import {
  attributeOf,
  childrenOf,
  find,
  removeNamed,
  removeWhere,
  setAttribute,
  type XmlElement,
} from './xml.ts';

interface Circumstances {
  readonly isCopy: boolean;
  /** Paths that the restored machine may name. */
  readonly files: ReadonlySet<string>;
}

const TERMINALS = ['serial', 'parallel', 'console'];
const WITH_FILES = ['file', 'pipe', 'dev', 'unix', 'nmdm'];
const WITH_PORTS = ['tcp', 'udp'];

export function redirectCharacterDevices(
  root: XmlElement,
  circumstances: Circumstances,
): RewriteFinding[] {
  const devices = find(root, 'devices');
  if (!devices) return [];
  const dropped = new Set<XmlElement>();
  const findings = childrenOf(devices).flatMap((device): RewriteFinding[] => {
    if (TERMINALS.includes(device.name)) return redirect(device, 'pty', circumstances);
    if (device.name !== 'channel') return [];
    if (!leadsToProgram(device)) return redirect(device, 'unix', circumstances);
    dropped.add(device);
    return [{ code: 'channel-dropped', device: nameOf(device) }];
  });
  removeWhere(devices, (device) => dropped.has(device));
  return findings;
}

/** `fitting` is the type that needs no path: a terminal, or a socket in a folder of the machine. */
function redirect(
  device: XmlElement,
  fitting: 'pty' | 'unix',
  { isCopy, files }: Circumstances,
): RewriteFinding[] {
  const type = attributeOf(device, 'type') ?? 'pty';
  setAttribute(device, 'tty', undefined);
  removeWhere(device, (part) => part.name === 'log' && oldPathOf(part, files) !== undefined);
  const path = oldPathOf(device, files);
  if (type === 'pty' || type === fitting) {
    if (path !== undefined) removeNamed(device, 'source');
    return [];
  }
  const isBusyPort = isCopy && WITH_PORTS.includes(type);
  if (!isBusyPort && (path === undefined || !WITH_FILES.includes(type))) return [];
  setAttribute(device, 'type', fitting);
  removeNamed(device, 'source', 'protocol', 'log');
  const finding = { code: 'console-redirected', device: nameOf(device) } as const;
  return [path === undefined ? finding : { ...finding, path }];
}

/** A program of the host listens there for the original, or the guest reaches it by an address. */
function leadsToProgram(channel: XmlElement): boolean {
  const connects = attributeOf(find(channel, 'source'), 'mode') === 'connect';
  const isByAddress = attributeOf(find(channel, 'target'), 'type') === 'guestfwd';
  return connects || isByAddress;
}

function oldPathOf(element: XmlElement, files: ReadonlySet<string>): string | undefined {
  return pathsBelow(element).find(({ path }) => !files.has(path))?.path;
}

function nameOf(device: XmlElement): string {
  const target = find(device, 'target');
  const name = attributeOf(target, 'name') ?? attributeOf(target, 'port') ?? '';
  return `${device.name} ${name}`.trim();
}
