/** Devices that are parts of the host, of which the target has others; displays, and the TPM. */
import { parseHostDevice } from './domain.ts';
import { pathsBelow } from './paths.ts';
import type { RewriteFinding } from './rewrite-finding.ts';
import {
  attributeOf,
  childrenOf,
  elementsOf,
  find,
  removeNamed,
  removeWhere,
  setAttribute,
  type XmlElement,
} from './xml.ts';

/** Passed-through devices, shared folders and memory, locks. */
export function removeHostDevices(root: XmlElement): RewriteFinding[] {
  const devices = find(root, 'devices');
  if (!devices) return [];
  const findings = childrenOf(devices).flatMap((device) => findingOf(device) ?? []);
  removeWhere(devices, (device) => findingOf(device) !== undefined);
  return findings;
}

function findingOf(device: XmlElement): RewriteFinding | undefined {
  const type = attributeOf(device, 'type');
  const source = find(device, 'source');
  switch (device.name) {
    case 'hostdev':
      return hostDevice(device);
    case 'interface':
      return type === 'hostdev' || type === 'vdpa' ? hostDevice(device) : undefined;
    case 'tpm':
      return attributeOf(find(device, 'backend'), 'type') === 'passthrough'
        ? { code: 'host-device-dropped', device: 'tpm' }
        : undefined;
    case 'filesystem':
      return {
        code: 'host-folder-dropped',
        device: attributeOf(find(device, 'target'), 'dir') ?? 'filesystem',
        path: attributeOf(source, 'dir') ?? '',
      };
    case 'shmem':
      return { code: 'shared-memory-dropped', device: attributeOf(device, 'name') ?? 'shmem' };
    case 'lease':
      return { code: 'lease-dropped', device: 'lease' };
    default:
      return undefined;
  }
}

function hostDevice(device: XmlElement): RewriteFinding {
  const { type, address } = parseHostDevice(device);
  return { code: 'host-device-dropped', device: `${type} ${address}` };
}

/** Sockets and, for a copy, ports of displays are made at the start. */
export function rewriteGraphics(
  root: XmlElement,
  { isCopy }: { readonly isCopy: boolean },
): RewriteFinding[] {
  return childrenOf(find(root, 'devices'), 'graphics').flatMap((display) => {
    for (const part of elementsOf(display)) setAttribute(part, 'socket', undefined);
    return isCopy ? renewPorts(display) : [];
  });
}

function renewPorts(display: XmlElement): RewriteFinding[] {
  const type = attributeOf(display, 'type') ?? '';
  const port = attributeOf(display, 'port');
  if (port === undefined && attributeOf(display, 'tlsPort') === undefined) return [];
  const wasFixed = attributeOf(display, 'autoport') !== 'yes' && port !== '-1';
  for (const name of ['port', 'tlsPort']) setAttribute(display, name, undefined);
  if (attributeOf(display, 'websocket') !== undefined) setAttribute(display, 'websocket', '-1');
  setAttribute(display, 'autoport', 'yes');
  return wasFixed ? [{ code: 'ports-renewed', device: type }] : [];
}

/** An emulated TPM keeps its state where libvirt says, by UUID. */
export function rewriteTpm(root: XmlElement, files: ReadonlySet<string>): RewriteFinding[] {
  const backend = find(root, 'devices', 'tpm', 'backend');
  if (attributeOf(backend, 'type') !== 'emulator') return [];
  const source = find(backend, 'source');
  if (source && pathsBelow(source).some(({ path }) => !files.has(path))) {
    removeNamed(backend, 'source');
  }
  const secret = attributeOf(find(backend, 'encryption'), 'secret');
  return secret === undefined ? [] : [{ code: 'secret-needed', device: secret }];
}
