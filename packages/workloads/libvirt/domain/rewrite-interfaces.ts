/** Network interfaces of a restored machine. */
import {
  append,
  attributeOf,
  childrenOf,
  element,
  find,
  removeNamed,
  setAttribute,
  type XmlElement,
} from './xml.ts';
import { interfaceSourceOf } from './domain.ts';

/** What an interface is connected to at the target. */
export interface NetworkPlace {
  readonly kind: 'network' | 'bridge';
  readonly name: string;
}

/** An interface whose network is not in the map stays on the one of that name. */
export function rewriteInterfaces(
  root: XmlElement,
  networks: ReadonlyMap<string, NetworkPlace>,
  { isCopy }: { readonly isCopy: boolean },
): void {
  for (const device of childrenOf(find(root, 'devices'), 'interface')) {
    forgetHost(device);
    if (isCopy) forgetAddress(device);
    const source = find(device, 'source');
    const place = networks.get(interfaceSourceOf(source) ?? '');
    if (source && place) connect(device, source, place);
  }
}

/** What cannot be brought to a device that is connected to nothing. */
const OF_A_NETWORK = ['source', 'virtualport', 'bandwidth', 'filterref', 'vlan', 'ip', 'route'];

/** The guest sees its devices, without a carrier: whatever it does reaches nobody. */
export function isolateInterfaces(root: XmlElement): void {
  for (const device of childrenOf(find(root, 'devices'), 'interface')) {
    forgetHost(device);
    forgetAddress(device);
    removeNamed(device, ...OF_A_NETWORK, 'link', 'portForward', 'backend', 'teaming');
    setAttribute(device, 'type', 'user');
    setAttribute(device, 'managed', undefined);
    setAttribute(device, 'trustGuestRxFilters', undefined);
    append(device, element('link', { state: 'down' }));
  }
}

/** Names of taps and ports are made at each start; those of the original may be in use. */
function forgetHost(device: XmlElement): void {
  removeNamed(device, 'target');
  const source = find(device, 'source');
  if (source && attributeOf(source, 'network') !== undefined) {
    for (const name of ['bridge', 'portid', 'dev']) setAttribute(source, name, undefined);
  }
  const backend = find(device, 'backend');
  if (backend) setAttribute(backend, 'logFile', undefined);
}

/** libvirt makes a new MAC, and Open vSwitch takes a new port. */
function forgetAddress(device: XmlElement): void {
  removeNamed(device, 'mac');
  const parameters = find(device, 'virtualport', 'parameters');
  if (parameters) setAttribute(parameters, 'interfaceid', undefined);
}

function connect(device: XmlElement, source: XmlElement, { kind, name }: NetworkPlace): void {
  // A port group and the kind of a virtual port are of the old network.
  removeNamed(device, 'virtualport');
  setAttribute(device, 'type', kind);
  source.attributes = {};
  source.children = [];
  setAttribute(source, kind, name);
}
