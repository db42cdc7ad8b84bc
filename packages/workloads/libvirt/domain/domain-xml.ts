/** The definition of a machine as a tree whose parts can be found without doubt. */
import {
  childrenOf,
  malformed,
  parseXml,
  rootOf,
  type XmlDocument,
  type XmlElement,
} from './xml.ts';

/** libvirt reads the devices of every one of them: a second would hide what it holds from us. */
const ONCE = ['name', 'uuid', 'os', 'devices'];

/** Fails with `libvirt-failed` when the text is not the definition of a machine. */
export function parseDomainXml(text: string): { document: XmlDocument; root: XmlElement } {
  const document = parseXml(text, 'domain');
  const root = rootOf(document);
  for (const name of ONCE) {
    if (childrenOf(root, name).length > 1) throw malformed('part, which is there twice', name);
  }
  return { document, root };
}
