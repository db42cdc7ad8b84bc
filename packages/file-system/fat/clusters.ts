/** Clusters of FAT and exFAT volumes, and the chains that a table makes of them. */
import { CofferError } from '@coffer/base';
import type { Disk } from '@coffer/disk/disk.ts';

/** Where the table and the clusters are, in bytes of the volume. */
export interface ClusterGeometry {
  readonly tableOffset: number;
  /** FAT32 uses 28 of its 32 bits, exFAT all. */
  readonly entryBits: 12 | 16 | 32;
  /** Entries from this one on end a chain. */
  readonly endMark: number;
  readonly clusterBytes: number;
  readonly clusterCount: number;
  /** Of cluster 2, the first. */
  readonly clustersOffset: number;
}

/** Clusters that follow each other. */
export interface ClusterRun {
  readonly cluster: number;
  readonly count: number;
}

const FIRST_CLUSTER = 2;
/** A number of entries that is whole bytes for every size of them. */
const PAGE_ENTRIES = 8192;

interface TablePage {
  readonly index: number;
  readonly bytes: Buffer;
}

export class Clusters {
  readonly geometry: ClusterGeometry;
  readonly #disk: Disk;

  constructor(disk: Disk, geometry: ClusterGeometry) {
    this.#disk = disk;
    this.geometry = geometry;
  }

  /**
   * The clusters of a chain, `countMax` of them at most. Fails with `file-system-damaged` when the
   * chain leads out of the volume or into itself.
   */
  async chain(first: number, countMax: number): Promise<ClusterRun[]> {
    const runs: { cluster: number; count: number }[] = [];
    let page: TablePage | undefined;
    // Brent's way to see a loop: now and then a place is noted, and must not be met again.
    let noted = -1;
    for (let cluster = first, count = 0; count < countMax; count++) {
      if (!this.#isCluster(cluster)) throw damaged('chain', cluster);
      if (cluster === noted) throw damaged('loop', cluster);
      if ((count & (count - 1)) === 0) noted = cluster;
      const last = runs.at(-1);
      if (last && last.cluster + last.count === cluster) last.count++;
      else runs.push({ cluster, count: 1 });
      const pageIndex = Math.floor(cluster / PAGE_ENTRIES);
      if (page?.index !== pageIndex) page = await this.#readPage(pageIndex);
      cluster = this.#entry(page, cluster);
      if (cluster >= this.geometry.endMark) break;
    }
    return runs;
  }

  /** Clusters that follow each other without a chain. Fails with `file-system-damaged`. */
  contiguous(cluster: number, count: number): ClusterRun[] {
    if (count === 0) return [];
    const isInside = this.#isCluster(cluster) && this.#isCluster(cluster + count - 1);
    if (!isInside) throw damaged('contiguous clusters', cluster);
    return [{ cluster, count }];
  }

  /** Fails with `file-system-damaged` when the runs end too early. */
  async read(runs: readonly ClusterRun[], offset: number, target: Uint8Array): Promise<void> {
    const { clusterBytes, clustersOffset } = this.geometry;
    let done = 0;
    let start = 0;
    for (const { cluster, count } of runs) {
      const end = start + count * clusterBytes;
      const place = offset + done;
      if (place < end && done < target.length) {
        const part = target.subarray(done, done + end - place);
        const runOffset = clustersOffset + (cluster - FIRST_CLUSTER) * clusterBytes;
        await this.#disk.read(runOffset + place - start, part);
        done += part.length;
      }
      start = end;
    }
    if (done < target.length) throw damaged('chain ends too early', runs.at(-1)?.cluster);
  }

  #isCluster(cluster: number): boolean {
    return cluster >= FIRST_CLUSTER && cluster < FIRST_CLUSTER + this.geometry.clusterCount;
  }

  async #readPage(index: number): Promise<TablePage> {
    const { tableOffset, entryBits, clusterCount } = this.geometry;
    const start = (index * PAGE_ENTRIES * entryBits) / 8;
    const end = Math.ceil(((FIRST_CLUSTER + clusterCount) * entryBits) / 8);
    // One byte more, so that the last entry of 12 bits can be read as 16.
    const bytes = Buffer.alloc(Math.min((PAGE_ENTRIES * entryBits) / 8, end - start) + 1);
    await this.#disk.read(tableOffset + start, bytes.subarray(0, -1));
    return { index, bytes };
  }

  #entry({ bytes }: TablePage, cluster: number): number {
    const index = cluster % PAGE_ENTRIES;
    const { entryBits, endMark } = this.geometry;
    if (entryBits === 16) return bytes.readUInt16LE(index * 2);
    if (entryBits === 12) {
      const pair = bytes.readUInt16LE(Math.floor((index * 3) / 2));
      return index % 2 === 0 ? pair & 0xfff : pair >> 4;
    }
    const entry = bytes.readUInt32LE(index * 4);
    return endMark > 0x1000_0000 ? entry : entry & 0x0fff_ffff;
  }
}

function damaged(reason: string, cluster: number | undefined): CofferError {
  return new CofferError('file-system-damaged', { structure: 'fat clusters', reason, cluster });
}
