/** Amounts of memory in definitions (libvirt: Memory Allocation). */
import { attributeOf, find, malformed, textAt, type XmlElement } from './xml.ts';

export interface DomainMemory {
  /** What the machine has at its start. */
  readonly sizeBytes: number;
  /** What it may grow to. */
  readonly sizeBytesMax: number;
}

const POWERS = ['', 'k', 'm', 'g', 't', 'p', 'e'];
const UNIT = /^(?:b|bytes|([kmgtpe])(b|ib)?)$/;

/** Fails with `libvirt-failed` when an amount is not one. */
export function parseMemory(domain: XmlElement): DomainMemory {
  const max = amountOf(domain, 'memory');
  if (max === undefined) throw malformed('memory');
  return { sizeBytes: amountOf(domain, 'currentMemory') ?? max, sizeBytesMax: max };
}

function amountOf(domain: XmlElement, name: string): number | undefined {
  const text = textAt(domain, name);
  if (text === undefined) return undefined;
  const bytes = Number(/^\d{1,20}$/.test(text) ? text : Number.NaN) * unitBytes(domain, name);
  if (!Number.isSafeInteger(bytes)) throw malformed(name, text);
  return bytes;
}

/** `KB` is of 1000 bytes, `k` and `KiB` of 1024. */
function unitBytes(domain: XmlElement, name: string): number {
  const unit = (attributeOf(find(domain, name), 'unit') ?? 'KiB').toLowerCase();
  const match = UNIT.exec(unit);
  if (!match) throw malformed(`unit of ${name}`, unit);
  const [, letter = '', suffix] = match;
  return (suffix === 'b' ? 1000 : 1024) ** POWERS.indexOf(letter);
}
