/**
 * Reading of FAT12, FAT16, FAT32 and exFAT volumes. They know of no owners and permissions: files
 * belong to root, and the mode says whether they may be written.
 */
import { CofferError, type FileMetadata } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';
import type { FileSystem } from '../file-system.ts';
import { BOOT_BYTES, type FatGeometry, parseFatBoot } from './boot-codec.ts';
import { type ClusterRun, Clusters } from './clusters.ts';
import { parseFatFolder } from './directory-codec.ts';
import { isExfat, parseExfatBoot } from './exfat-boot-codec.ts';
import { parseExfatFolder } from './exfat-directory-codec.ts';
import type { FatEntry, FatFolder } from './folder-codec.ts';

export interface FatNode extends FileMetadata {
  readonly entry: FatEntry;
  /** Undefined for the root. */
  readonly parent: FatNode | undefined;
}

interface FatForm {
  readonly name: 'fat' | 'exfat';
  readonly geometry: FatGeometry;
  readonly folderBytesMax: number;
  readonly parseFolder: (bytes: Buffer) => FatFolder;
}

/** FAT folders have 65,536 records at most; those of exFAT may be larger than is of use. */
const FAT_FOLDER_BYTES_MAX = 2 * 1024 * 1024;
const EXFAT_FOLDER_BYTES_MAX = 32 * 1024 * 1024;

/** Clusters, which are the numbers of all else, begin with 2. */
const ROOT_INODE = 1n;

const ROOT_ENTRY: FatEntry = {
  name: Buffer.alloc(0),
  isFolder: true,
  isReadOnly: false,
  modifiedNs: 0n,
  firstCluster: 0,
  sizeBytes: 0,
  validBytes: 0,
  isContiguous: false,
  index: 0,
};

/**
 * Opens the volume. Fails with `file-system-damaged` and `file-system-unsupported`. Many small reads
 * are made: give it a cached disk.
 */
export async function openFat(disk: Disk): Promise<FileSystem<FatNode>> {
  return await openVolume(disk);
}

/** What the volume is called: what its root folder says, which is what its users have written. */
export async function readFatLabel(disk: Disk): Promise<string | undefined> {
  return await (await openVolume(disk)).label();
}

async function openVolume(disk: Disk): Promise<Fat> {
  if (disk.sizeBytes < BOOT_BYTES) {
    const details = { structure: 'fat boot sector', sizeBytes: disk.sizeBytes };
    throw new CofferError('file-system-damaged', details);
  }
  const boot = Buffer.alloc(BOOT_BYTES);
  await disk.read(0, boot);
  return new Fat(disk, isExfat(boot) ? exfatForm(boot) : fatForm(boot));
}

function fatForm(boot: Buffer): FatForm {
  const geometry = parseFatBoot(boot);
  const folderBytesMax = FAT_FOLDER_BYTES_MAX;
  return { name: 'fat', geometry, folderBytesMax, parseFolder: parseFatFolder };
}

function exfatForm(boot: Buffer): FatForm {
  const geometry = parseExfatBoot(boot);
  const folderBytesMax = EXFAT_FOLDER_BYTES_MAX;
  return { name: 'exfat', geometry, folderBytesMax, parseFolder: parseExfatFolder };
}

class Fat implements FileSystem<FatNode> {
  readonly root: FatNode = nodeOf(ROOT_ENTRY, undefined);
  readonly #disk: Disk;
  readonly #form: FatForm;
  readonly #clusters: Clusters;
  /** Chains of files that are being read: the table is not walked again for each read. */
  readonly #chains = new WeakMap<FatNode, Promise<ClusterRun[]>>();

  constructor(disk: Disk, form: FatForm) {
    this.#disk = disk;
    this.#form = form;
    this.#clusters = new Clusters(disk, form.geometry);
  }

  /** Where names are damaged, all others are given first, and then it is told. */
  async *entries(folder: FatNode): AsyncIterable<FatNode> {
    const { entries, damagedCount } = await this.#readFolder(folder);
    const sane = entries.filter((entry) => !isWithin(folder, entry));
    for (const entry of sane) yield nodeOf(entry, folder);
    const count = damagedCount + entries.length - sane.length;
    if (count > 0) throw this.#damagedFolder(count);
  }

  async find(folder: FatNode, name: Buffer): Promise<FatNode | undefined> {
    const { entries } = await this.#readFolder(folder);
    const found = entries.find((entry) => entry.name.equals(name));
    if (found && isWithin(folder, found)) throw this.#damagedFolder(1);
    return found && nodeOf(found, folder);
  }

  async read(file: FatNode, offset: number, target: Uint8Array): Promise<number> {
    const { sizeBytes, validBytes } = file.entry;
    const length = Math.max(0, Math.min(target.length, sizeBytes - offset));
    const validLength = Math.max(0, Math.min(length, validBytes - offset));
    target.fill(0, validLength, length);
    if (validLength === 0) return length;
    const runs = await this.#chainOf(file);
    await this.#clusters.read(runs, offset, target.subarray(0, validLength));
    return length;
  }

  async close(): Promise<void> {
    await this.#disk.close();
  }

  async label(): Promise<string | undefined> {
    return (await this.#readFolder(this.root)).label;
  }

  #damagedFolder(damagedCount: number): CofferError {
    const details = { structure: `${this.#form.name} folder`, damagedCount };
    return new CofferError('file-system-damaged', details);
  }

  async #chainOf(file: FatNode): Promise<ClusterRun[]> {
    const known = this.#chains.get(file) ?? this.#runs(file.entry, file.entry.sizeBytes);
    this.#chains.set(file, known);
    return await known;
  }

  async #runs(entry: FatEntry, lengthMax: number): Promise<ClusterRun[]> {
    const count = Math.ceil(lengthMax / this.#form.geometry.clusterBytes);
    if (entry.isContiguous) return this.#clusters.contiguous(entry.firstCluster, count);
    return await this.#clusters.chain(entry.firstCluster, count);
  }

  async #readFolder(folder: FatNode): Promise<FatFolder> {
    const { parseFolder, geometry } = this.#form;
    if (folder.entry !== ROOT_ENTRY) return parseFolder(await this.#readChain(folder.entry));
    const { root } = geometry;
    if ('cluster' in root) {
      return parseFolder(await this.#readChain({ ...ROOT_ENTRY, firstCluster: root.cluster }));
    }
    const bytes = Buffer.alloc(root.length);
    await this.#disk.read(root.offset, bytes);
    return parseFolder(bytes);
  }

  /** Only exFAT says how long a folder is; without a chain that has to be known. */
  async #readChain(entry: FatEntry): Promise<Buffer> {
    const { folderBytesMax, geometry, name } = this.#form;
    const lengthMax = entry.isContiguous ? entry.sizeBytes : folderBytesMax;
    if (lengthMax > folderBytesMax) {
      const details = { structure: `${name} folder`, sizeBytes: lengthMax };
      throw new CofferError('file-system-unsupported', details);
    }
    const runs = await this.#runs(entry, lengthMax);
    const count = runs.reduce((sum, run) => sum + run.count, 0);
    const bytes = Buffer.alloc(count * geometry.clusterBytes);
    await this.#clusters.read(runs, 0, bytes);
    return bytes;
  }
}

/** True for a folder that would hold itself. */
function isWithin(folder: FatNode, { isFolder, firstCluster }: FatEntry): boolean {
  for (let above = isFolder ? folder : undefined; above; above = above.parent) {
    if (above.entry.firstCluster === firstCluster) return true;
  }
  return false;
}

function nodeOf(entry: FatEntry, parent: FatNode | undefined): FatNode {
  const { name, isFolder, isReadOnly, modifiedNs, sizeBytes } = entry;
  const mode = isFolder ? 0o755 : 0o644;
  return {
    name,
    type: isFolder ? 'directory' : 'file',
    mode: isReadOnly ? mode & ~0o222 : mode,
    userId: 0,
    groupId: 0,
    modifiedNs,
    changedNs: modifiedNs,
    inode: parent ? inodeOf(entry, parent) : ROOT_INODE,
    sizeBytes: isFolder ? 0 : sizeBytes,
    hardLink: undefined,
    linkTarget: undefined,
    deviceNumber: undefined,
    extendedAttributes: [],
    entry,
    parent,
  };
}

/** The cluster where it begins; without one, the place of its record, above all clusters. */
function inodeOf({ firstCluster, index }: FatEntry, { inode }: FatNode): bigint {
  if (firstCluster !== 0) return BigInt(firstCluster);
  return (1n << 60n) + (inode << 20n) + BigInt(index);
}
