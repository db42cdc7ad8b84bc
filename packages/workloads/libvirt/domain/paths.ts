/**
 * Which files of the host a definition names. A restored machine must name none of the original:
 * it would write to the disks of the machine that it is a copy of.
 *
 * Whatever looks like a path counts, also in elements that are not known here. What is left out, and
 * why, is in the tables below.
 */
import { posix } from 'node:path';
import { CofferError } from '@coffer/base';
import { parseDomainXml } from './domain-xml.ts';
import {
  attributeOf,
  childrenOf,
  elementsOf,
  ownTextOf,
  removeText,
  setAttribute,
  setText,
  type XmlElement,
} from './xml.ts';

/** A path, and where it stands: in an attribute or, without one, in the text of an element. */
export interface NamedPath {
  readonly element: XmlElement;
  readonly attribute: string | undefined;
  /** Without `.`, `..` and double slashes. Symbolic links are not followed. */
  readonly path: string;
  /** False for one that is somewhere in an argument of QEMU. */
  readonly isWhole: boolean;
}

/** Texts, labels and keys: not paths, even where they begin with a slash. */
const NOT_PATHS = new Set(['metadata', 'title', 'description', 'cmdline', 'seclabel']);
NOT_PATHS.add('launchSecurity');

/** Programs of the host, groups of the kernel, and strings for the guest. */
const TEXTS_NOT_OF_THE_MACHINE = new Set(['emulator', 'bootloader', 'partition', 'entry']);

/** Programs, templates and devices that machines of a host share without changing them. */
const ATTRIBUTES_NOT_OF_THE_MACHINE = new Set([
  'nvram template',
  'backend tap',
  'backend vhost',
  'script path',
  'downscript path',
  'binary path',
  'gl rendernode',
  'acceleration rendernode',
  'target dir',
]);

/** Arguments that go to QEMU as they are; paths are somewhere in them. */
const PATH_IN_ARGUMENT = /(?<=^|[=,:;\s"'])\/[^=,;\s"'?]+/g;

const NAMES_SHOWN_MAX = 10;

/** Every path of a file of the host that the definition names, each once, sorted. */
export function pathsOf(xml: string): string[] {
  return [...new Set(pathsBelow(parseDomainXml(xml).root).map(({ path }) => path))].sort();
}

/**
 * Fails with `target-unfit`, naming them, when the new definition names a file, a volume or a disk
 * on a server that the original names. Symbolic links are up to the caller.
 */
export function assertNoOriginal(newXml: string, originalXml: string): void {
  const originals = placesBelow(parseDomainXml(originalXml).root);
  const shared = [...placesBelow(parseDomainXml(newXml).root)].filter((place) =>
    originals.has(place),
  );
  if (shared.length === 0) return;
  throw new CofferError('target-unfit', {
    reason: 'the new machine would use what belongs to the original',
    paths: shared.slice(0, NAMES_SHOWN_MAX).join(', '),
    count: shared.length,
  });
}

/** Paths, and names of volumes and of disks on servers. */
function placesBelow(root: XmlElement): Set<string> {
  const places = new Set(pathsBelow(root).map(({ path }) => path));
  for (const source of elementsOf(root)) {
    if (source.name !== 'source') continue;
    const { protocol, name = '', pool, volume } = source.attributes;
    if (pool && volume) places.add(`volume ${pool}/${volume}`);
    if (protocol) places.add([`${protocol}:${name}`, ...hostsOf(source)].join(' '));
  }
  return places;
}

function hostsOf(source: XmlElement): string[] {
  return childrenOf(source, 'host').map((host) => Object.values(host.attributes).join(':'));
}

/** All paths from this element down. */
export function pathsBelow(element: XmlElement): NamedPath[] {
  const found: NamedPath[] = [];
  collect(element, found);
  return found;
}

function collect(element: XmlElement, found: NamedPath[]): void {
  if (NOT_PATHS.has(element.name)) return;
  if (element.name.endsWith(':commandline')) {
    collectArguments(element, found);
    return;
  }
  collectText(element, found);
  collectAttributes(element, found);
  for (const child of childrenOf(element)) collect(child, found);
}

function collectText(element: XmlElement, found: NamedPath[]): void {
  const text = ownTextOf(element);
  if (!text.startsWith('/') || isTextOfHost(element, text)) return;
  found.push({ element, attribute: undefined, path: normalizePath(text), isWhole: true });
}

/** Firmware that the machine can write to is its own; a generator of random numbers is a device. */
function isTextOfHost(element: XmlElement, text: string): boolean {
  if (TEXTS_NOT_OF_THE_MACHINE.has(element.name)) return true;
  if (element.name === 'backend') return text.startsWith('/dev/');
  if (element.name !== 'loader') return false;
  return attributeOf(element, 'type') !== 'pflash' || attributeOf(element, 'readonly') === 'yes';
}

function collectAttributes(element: XmlElement, found: NamedPath[]): void {
  for (const [attribute, value] of Object.entries(element.attributes)) {
    if (ATTRIBUTES_NOT_OF_THE_MACHINE.has(`${element.name} ${attribute}`)) continue;
    const isFile = element.name === 'source' && attribute === 'file' && value !== '';
    if (!isFile && !value.startsWith('/')) continue;
    found.push({ element, attribute, path: normalizePath(value), isWhole: true });
  }
}

function collectArguments(commandline: XmlElement, found: NamedPath[]): void {
  for (const element of elementsOf(commandline)) {
    const values = Object.entries(element.attributes).filter(([name]) => !name.startsWith('xmlns'));
    for (const [attribute, value] of [...values, [undefined, ownTextOf(element)] as const]) {
      for (const [path] of value.matchAll(PATH_IN_ARGUMENT)) {
        found.push({ element, attribute, path: normalizePath(path), isWhole: false });
      }
    }
  }
}

/** Without `.`, `..`, double slashes and a slash at the end. */
export function normalizePath(path: string): string {
  return posix.normalize(path).replace(/(?<=.)\/$/, '');
}

/** Writes another path where this one stands. */
export function replacePath({ element, attribute }: NamedPath, path: string): void {
  if (attribute === undefined) setText(element, path);
  else setAttribute(element, attribute, path);
}

/** Removes the attribute or text that names a path. */
export function clearPath({ element, attribute }: NamedPath): void {
  if (attribute === undefined) removeText(element);
  else setAttribute(element, attribute, undefined);
}
