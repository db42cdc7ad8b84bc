/**
 * XML of libvirt as a tree that keeps what it does not know: elements, attributes, comments and
 * spaces come out as they went in. Names are kept with their prefixes.
 */
import { CofferError } from '@coffer/base';
import {
  parseXml as parse,
  XmlCdata,
  XmlComment,
  type XmlDocument,
  XmlElement,
  XmlError,
  XmlProcessingInstruction,
  XmlText,
} from '@rgrove/parse-xml';
import { assertWithinBounds } from './xml-bounds.ts';

export { type XmlDocument, XmlElement } from '@rgrove/parse-xml';

/**
 * Parses a document whose root has this name. Fails with `libvirt-failed`, the reason and the
 * offset, when it is not well-formed, has a document type, or is beyond the bounds.
 */
export function parseXml(text: string, rootName: string): XmlDocument {
  assertWithinBounds(text);
  const document = parseWithin(text);
  if (document.root?.name === rootName) return document;
  const found = document.root?.name.slice(0, 100);
  throw new CofferError('libvirt-failed', { reason: `XML without <${rootName}>`, found });
}

function parseWithin(text: string): XmlDocument {
  try {
    return parse(text, { preserveComments: true, preserveCdata: true });
  } catch (error) {
    if (!(error instanceof XmlError)) throw error;
    const details = { reason: 'XML not well-formed', line: error.line, column: error.column };
    throw new CofferError('libvirt-failed', details, error);
  }
}

/** The failure for XML that is well-formed, but not what libvirt writes. */
export function malformed(what: string, found = ''): CofferError {
  const details = { reason: `XML with a wrong ${what}`, found: found.slice(0, 100) };
  return new CofferError('libvirt-failed', details);
}

export function rootOf(document: XmlDocument): XmlElement {
  if (document.root === null) throw malformed('root');
  return document.root;
}

/** Writes a document or an element. */
export function serializeXml(node: XmlDocument | XmlElement): string {
  if (!(node instanceof XmlElement)) return `${node.children.map(write).join('\n')}\n`;
  const attributes = Object.entries(node.attributes)
    .map(([name, value]) => ` ${name}='${escapeAttribute(value)}'`)
    .join('');
  if (node.children.length === 0) return `<${node.name}${attributes}/>`;
  return `<${node.name}${attributes}>${node.children.map(write).join('')}</${node.name}>`;
}

function write(node: unknown): string {
  if (node instanceof XmlElement) return serializeXml(node);
  if (node instanceof XmlCdata) return `<![CDATA[${node.text}]]>`;
  if (node instanceof XmlText) return escapeText(node.text);
  if (node instanceof XmlComment) return `<!--${node.content}-->`;
  if (node instanceof XmlProcessingInstruction) return writeInstruction(node);
  throw new TypeError('the parser gives no other nodes');
}

function writeInstruction({ name, content }: XmlProcessingInstruction): string {
  return content === '' ? `<?${name}?>` : `<?${name} ${content}?>`;
}

/** A return that is written as it is would be read as the end of a line (XML 2.11). */
function escapeText(text: string): string {
  return escape(text, /[&<>\r]/gu);
}

/** Spaces other than blanks would be read as blanks (XML 3.3.3). */
function escapeAttribute(text: string): string {
  return escape(text, /[&<>'\t\n\r]/gu);
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': 'amp',
  '<': 'lt',
  '>': 'gt',
  "'": 'apos',
};

function escape(text: string, unsafe: RegExp): string {
  return text.replace(unsafe, (char) => `&${ENTITIES[char] ?? `#${char.charCodeAt(0)}`};`);
}

/** Makes an element. Attributes whose value is undefined are left out. */
export function element(
  name: string,
  attributes: Readonly<Record<string, string | undefined>> = {},
  children: readonly (XmlElement | string)[] = [],
): XmlElement {
  const made = new XmlElement(name);
  for (const [key, value] of Object.entries(attributes)) setAttribute(made, key, value);
  made.children = children.filter((child) => child !== '').map((child) => adopt(made, child));
  return made;
}

function adopt(parent: XmlElement, child: XmlElement | string): XmlElement | XmlText {
  const node = typeof child === 'string' ? new XmlText(child) : child;
  node.parent = parent;
  return node;
}

/** The child elements, of this name where one is given. */
export function childrenOf(parent: XmlElement | undefined, name?: string): XmlElement[] {
  if (parent === undefined) return [];
  return parent.children.filter(
    (child) => child instanceof XmlElement && (name === undefined || child.name === name),
  ) as XmlElement[];
}

/** The first element at this path of names. */
export function find(from: XmlElement | undefined, ...path: string[]): XmlElement | undefined {
  let at = from;
  for (const name of path) at = childrenOf(at, name)[0];
  return at;
}

/** The text of the element at this path without spaces around it; undefined where it is empty. */
export function textAt(from: XmlElement | undefined, ...path: string[]): string | undefined {
  const text = find(from, ...path)?.text.trim();
  return text === '' ? undefined : text;
}

/** The text in an element itself, not in those below it, without spaces around it. */
export function ownTextOf(of: XmlElement): string {
  return of.children
    .map((child) => (child instanceof XmlText ? child.text : ''))
    .join('')
    .trim();
}

/** Removes the text in an element itself. */
export function removeText(of: XmlElement): void {
  of.children = of.children.filter((child) => !(child instanceof XmlText));
}

/** Undefined for the root. */
export function parentOf({ parent }: XmlElement): XmlElement | undefined {
  return parent instanceof XmlElement ? parent : undefined;
}

export function attributeOf(of: XmlElement | undefined, name: string): string | undefined {
  return of?.attributes[name];
}

/** Sets, or with undefined removes, an attribute. */
export function setAttribute(of: XmlElement, name: string, value: string | undefined): void {
  if (value === undefined) delete of.attributes[name];
  else of.attributes[name] = value;
}

export function setText(of: XmlElement, text: string): void {
  of.children = text === '' ? [] : [adopt(of, text)];
}

/** Adds a child before the others. */
export function prepend(parent: XmlElement, child: XmlElement): void {
  parent.children.unshift(adopt(parent, child));
}

/** Adds a child after the others. */
export function append(parent: XmlElement, child: XmlElement): void {
  parent.children.push(adopt(parent, child));
}

/** Removes the child elements of these names. */
export function removeNamed(parent: XmlElement | undefined, ...names: string[]): void {
  if (parent) removeWhere(parent, (child) => names.includes(child.name));
}

/** Removes child elements in one pass, each with the spaces before it. */
export function removeWhere(parent: XmlElement, isUnwanted: (child: XmlElement) => boolean): void {
  const kept: XmlElement['children'] = [];
  for (const child of parent.children) {
    if (!(child instanceof XmlElement) || !isUnwanted(child)) kept.push(child);
    else if (isIndent(kept.at(-1))) kept.pop();
  }
  parent.children = kept;
}

function isIndent(node: XmlElement['children'][number] | undefined): boolean {
  return node instanceof XmlText && node.text.trim() === '';
}

/** All elements from this one down, parents first. */
export function* elementsOf(from: XmlElement): Iterable<XmlElement> {
  yield from;
  for (const child of childrenOf(from)) yield* elementsOf(child);
}
