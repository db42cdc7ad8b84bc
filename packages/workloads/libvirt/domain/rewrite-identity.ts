/** Name, UUID, and what else says which machine, on which host, a definition is of. */
import {
  attributeOf,
  element,
  childrenOf,
  elementsOf,
  find,
  prepend,
  removeNamed,
  removeWhere,
  setAttribute,
  setText,
  type XmlElement,
} from './xml.ts';

export interface NewIdentity {
  readonly name: string;
  /**
   * `keep`: the same machine at another place, with its UUID, MACs and ports. Else a copy, which may
   * run beside the original; without a UUID, libvirt makes one.
   */
  readonly identity: 'keep' | { readonly uuid: string | undefined };
}

export function rewriteIdentity(root: XmlElement, { name, identity }: NewIdentity): void {
  setAttribute(root, 'id', undefined);
  setChild(root, 'name', name);
  if (identity !== 'keep') setUuid(root, identity.uuid);
  renewGenerationId(root);
  // libvirt knows where QEMU is on its host.
  removeNamed(find(root, 'devices'), 'emulator');
  removeLabels(root);
}

function setChild(root: XmlElement, name: string, text: string): void {
  const child = find(root, name);
  if (child) setText(child, text);
  else prepend(root, element(name, {}, [text]));
}

/** libvirt refuses SMBIOS tables of another UUID. */
function setUuid(root: XmlElement, uuid: string | undefined): void {
  for (const system of childrenOf(root, 'sysinfo').flatMap((info) => childrenOf(info, 'system'))) {
    removeWhere(system, (entry) => attributeOf(entry, 'name') === 'uuid');
  }
  if (uuid === undefined) removeNamed(root, 'uuid');
  else setChild(root, 'uuid', uuid);
}

/** A new value tells the guest that it went back in time, so that it does not reuse what it gave. */
function renewGenerationId(root: XmlElement): void {
  const id = find(root, 'genid');
  if (id) setText(id, '');
}

/** Labels of SELinux and AppArmor name the old machine; none at all is a choice that stays. */
function removeLabels(root: XmlElement): void {
  for (const parent of elementsOf(root)) {
    removeWhere(
      parent,
      ({ name, attributes }) => name === 'seclabel' && attributes['type'] !== 'none',
    );
  }
}
