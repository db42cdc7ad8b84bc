/**
 * A definition for a restored machine: what the guest sees stays as it was, what belongs to the
 * original or to its host is replaced or left out, and what was left out is told.
 *
 * Invariant: the result names no file of the original, unless `changes` say so. What no rule knows
 * goes with the device that names it.
 */
import { assert } from '@coffer/base';
import { parseDomainXml } from './domain-xml.ts';
import { clearPath, normalizePath, pathsBelow, replacePath } from './paths.ts';
import { redirectCharacterDevices } from './rewrite-character-devices.ts';
import { type DiskPlace, rewriteDisks } from './rewrite-disks.ts';
import type { RewriteFinding } from './rewrite-finding.ts';
import { rewriteGraphics, removeHostDevices, rewriteTpm } from './rewrite-devices.ts';
import { type NewIdentity, rewriteIdentity } from './rewrite-identity.ts';
import { isolateInterfaces, type NetworkPlace, rewriteInterfaces } from './rewrite-interfaces.ts';
import { find, parentOf, removeNamed, removeWhere, serializeXml, type XmlElement } from './xml.ts';

export interface DomainChanges extends NewIdentity {
  /** By target. Other disks are left out, and other drives for media are empty. */
  readonly disks: ReadonlyMap<string, DiskPlace>;
  /** New places of other files, by their old ones: kernel, initrd, UEFI variables, logs, ... */
  readonly files: ReadonlyMap<string, string>;
  /** By the name of the network, bridge or device that an interface was on; or on none at all. */
  readonly networks: ReadonlyMap<string, NetworkPlace> | 'none';
}

export interface Rewritten {
  readonly xml: string;
  readonly findings: readonly RewriteFinding[];
}

/**
 * Fails with `libvirt-failed` when the XML is not a definition, and with `disk-not-found` when a
 * disk that is to be replaced is not there.
 */
export function rewriteDomain(xml: string, changes: DomainChanges): Rewritten {
  const { document, root } = parseDomainXml(xml);
  const originals = new Set(pathsBelow(root).map(({ path }) => path));
  const moved = new Map([...changes.files].map(([from, to]) => [normalizePath(from), to]));
  const files = new Set([...changes.files.values()].map(normalizePath));
  const places = [...changes.disks.values()].map(({ path }) => normalizePath(path));
  const isCopy = changes.identity !== 'keep';

  rewriteIdentity(root, changes);
  const aboutDisks = rewriteDisks(root, changes.disks);
  replaceFiles(root, moved);
  const aboutHostDevices = removeHostDevices(root);
  if (changes.networks === 'none') isolateInterfaces(root);
  else rewriteInterfaces(root, changes.networks, { isCopy });

  const findings = [
    ...aboutDisks,
    ...aboutHostDevices,
    ...redirectCharacterDevices(root, { isCopy, files }),
    ...rewriteGraphics(root, { isCopy }),
    ...rewriteTpm(root, files),
    ...renewVariables(root, files),
    ...removeRest(root, originals.difference(files).difference(new Set(places))),
  ];
  return { xml: serializeXml(document), findings };
}

function replaceFiles(root: XmlElement, files: ReadonlyMap<string, string>): void {
  for (const named of pathsBelow(root)) {
    const path = files.get(named.path);
    if (path !== undefined && named.isWhole) replacePath(named, path);
  }
}

/** Without a path, libvirt makes new variables from the template under the name of the machine. */
function renewVariables(root: XmlElement, files: ReadonlySet<string>): RewriteFinding[] {
  const nvram = find(root, 'os', 'nvram');
  if (nvram === undefined) return [];
  const old = pathsBelow(nvram).find(({ path }) => !files.has(path));
  if (old === undefined) return [];
  nvram.children = [];
  delete nvram.attributes['type'];
  if (Object.keys(nvram.attributes).length === 0) removeNamed(find(root, 'os'), 'nvram');
  return [{ code: 'variables-new', path: old.path }];
}

/** What still names a file of the original goes, with the device or setting that names it. */
function removeRest(root: XmlElement, originals: ReadonlySet<string>): RewriteFinding[] {
  const findings: RewriteFinding[] = [];
  const unwanted = new Set<XmlElement>();
  for (const named of pathsBelow(root).filter(({ path }) => originals.has(path))) {
    const holder = holderOf(named.element);
    if (holder === undefined) clearPath(named);
    else if (!unwanted.has(holder)) {
      findings.push({ code: 'file-dropped', device: holder.name, path: named.path });
      unwanted.add(holder);
    }
  }
  for (const parent of new Set([...unwanted].map(parentOf))) {
    if (parent) removeWhere(parent, (child) => unwanted.has(child));
  }
  removeDirectBootRest(root);
  assert(!pathsBelow(root).some(({ path }) => originals.has(path)), 'no original path is left');
  return findings;
}

/** Their children stand for themselves; of others, a part alone would mean something else. */
const GROUPS = new Set(['domain', 'devices', 'os', 'sysinfo']);

/** What can go without changing the meaning of what stays. Undefined for the groups themselves. */
function holderOf(element: XmlElement): XmlElement | undefined {
  if (GROUPS.has(element.name)) return undefined;
  const parent = parentOf(element);
  return parent === undefined || GROUPS.has(parent.name) ? element : holderOf(parent);
}

/** QEMU refuses what goes with a kernel when there is none. */
function removeDirectBootRest(root: XmlElement): void {
  const os = find(root, 'os');
  if (!find(os, 'kernel')) removeNamed(os, 'initrd', 'cmdline', 'dtb', 'shim');
}
