/** Reparse points: links, and files whose content is stored in another way (MS-FSCC 2.1.2). */
import type { Fields } from './fields.ts';

export type Reparse =
  | { readonly kind: 'link'; readonly target: string }
  | { readonly kind: 'special'; readonly type: 'fifo' | 'socket' }
  | { readonly kind: 'compressed'; readonly algorithm: CompressionAlgorithm }
  /** The content is where only another program can find it. */
  | { readonly kind: 'elsewhere'; readonly reason: string }
  /** Tells something to some program; the content is in the file. */
  | { readonly kind: 'other' };

export type CompressionAlgorithm = 'xpress4k' | 'xpress8k' | 'xpress16k' | 'lzx';

const TAG = {
  mountPoint: 0xa000_0003,
  symlink: 0xa000_000c,
  linuxSymlink: 0xa000_001d,
  linuxSocket: 0x8000_0023,
  linuxFifo: 0x8000_0024,
  deduplicated: 0x8000_0013,
  compressed: 0x8000_0017,
} as const;

const HEADER_BYTES = 8;
const RELATIVE = 1;
const ALGORITHMS: readonly CompressionAlgorithm[] = ['xpress4k', 'lzx', 'xpress8k', 'xpress16k'];
/** Before the name in the namespace of objects of Windows. */
const OBJECT_PREFIX = '\\??\\';
const PROVIDER_FILE = 2;

export function parseReparse(point: Fields): Reparse {
  const data = point.part(HEADER_BYTES, point.u16(4));
  switch (point.u32(0)) {
    case TAG.symlink:
      return symlink(data);
    case TAG.mountPoint:
      return link(data, absoluteTarget(data, 8));
    case TAG.linuxSymlink:
      return link(data, data.part(4).bytes.toString('utf8'));
    case TAG.linuxSocket:
      return { kind: 'special', type: 'socket' };
    case TAG.linuxFifo:
      return { kind: 'special', type: 'fifo' };
    case TAG.compressed:
      return compressed(data);
    case TAG.deduplicated:
      return { kind: 'elsewhere', reason: 'the content is deduplicated by Windows Server' };
    default:
      return { kind: 'other' };
  }
}

function symlink(data: Fields): Reparse {
  const isRelative = (data.u32(8) & RELATIVE) !== 0;
  if (!isRelative) return link(data, absoluteTarget(data, 12));
  return link(data, substituteName(data, 12).replaceAll('\\', '/'));
}

/** The name that is shown to people, as Windows writes it: it is no path of this host. */
function absoluteTarget(data: Fields, pathsAt: number): string {
  const shown = data.text(pathsAt + data.u16(4), data.u16(6));
  return shown === '' ? substituteName(data, pathsAt).replace(OBJECT_PREFIX, '') : shown;
}

function substituteName(data: Fields, pathsAt: number): string {
  return data.text(pathsAt + data.u16(0), data.u16(2));
}

function link(data: Fields, target: string): Reparse {
  if (target === '' || target.includes('\0')) throw data.damaged('a link leads nowhere');
  return { kind: 'link', target };
}

/** WOF_EXTERNAL_INFO and FILE_PROVIDER_EXTERNAL_INFO_V1: version, provider; version, algorithm. */
function compressed(data: Fields): Reparse {
  const algorithm = data.u32(4) === PROVIDER_FILE ? ALGORITHMS[data.u32(12)] : undefined;
  if (algorithm) return { kind: 'compressed', algorithm };
  return { kind: 'elsewhere', reason: 'the content is in an image file of Windows (WIM)' };
}
