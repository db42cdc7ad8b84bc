/** Tells the format of an image by its first and last bytes. Pure. */

export const IMAGE_FORMATS = ['raw', 'vhd', 'vhdx', 'qcow2', 'vmdk', 'vdi'] as const;
export type ImageFormat = (typeof IMAGE_FORMATS)[number];

/** So much of the beginning is looked at, in bytes. */
export const IMAGE_HEAD_SIZE_BYTES = 512;
/** A fixed VHD is known by its last bytes only. */
export const IMAGE_TAIL_SIZE_BYTES = 512;

const MAGICS: readonly {
  readonly format: ImageFormat;
  readonly at: number;
  readonly bytes: Buffer;
}[] = [
  { format: 'vhdx', at: 0, bytes: Buffer.from('vhdxfile', 'latin1') },
  { format: 'vhd', at: 0, bytes: Buffer.from('conectix', 'latin1') },
  { format: 'qcow2', at: 0, bytes: Buffer.from('QFI\xfb', 'latin1') },
  { format: 'vmdk', at: 0, bytes: Buffer.from('KDMV', 'latin1') },
  { format: 'vmdk', at: 0, bytes: Buffer.from('COWD', 'latin1') },
  { format: 'vmdk', at: 0, bytes: Buffer.from('# Disk DescriptorFile', 'latin1') },
  { format: 'vdi', at: 0x40, bytes: Buffer.from([0x7f, 0x10, 0xda, 0xbe]) },
];
const FIXED_VHD_MAGIC = Buffer.from('conectix', 'latin1');

export function detectImageFormat(head: Buffer, tail: Buffer): ImageFormat {
  for (const { format, at, bytes } of MAGICS) {
    if (head.subarray(at, at + bytes.length).equals(bytes)) return format;
  }
  return tail.subarray(0, FIXED_VHD_MAGIC.length).equals(FIXED_VHD_MAGIC) ? 'vhd' : 'raw';
}

const EXTENSIONS: Readonly<Record<string, ImageFormat>> = {
  raw: 'raw',
  img: 'raw',
  vhd: 'vhd',
  vhdx: 'vhdx',
  avhdx: 'vhdx',
  qcow2: 'qcow2',
  vmdk: 'vmdk',
  vdi: 'vdi',
};

/** What the name of a new image says; undefined when it says nothing. */
export function imageFormatByName(path: string): ImageFormat | undefined {
  const extension = /\.([a-z0-9]+)$/i.exec(path)?.[1];
  return extension === undefined ? undefined : EXTENSIONS[extension.toLowerCase()];
}
