/** Images of file systems that are backed up as disks, and restored from. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { testRun } from '@coffer/base/testing/run.ts';
import { openRawDisk } from '@coffer/disk/raw.ts';
import { describeFolder } from '@coffer/file-system/testing/expected-tree.ts';
import type { RecoveryPoint, UnlockedRepository } from '@coffer/repository';
import { TestRepository } from '@coffer/repository/testing/test-repository.ts';
import { backup } from '../../../backup/backup.ts';
import { restore, type RestoreOptions, type RestoreResult } from '../../restore.ts';

export class VolumeLab implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'coffer-volume-'));
  readonly #test: TestRepository;
  readonly #repository: UnlockedRepository;
  #count = 0;

  private constructor(test: TestRepository, repository: UnlockedRepository) {
    this.#test = test;
    this.#repository = repository;
  }

  static async create(): Promise<VolumeLab> {
    const test = await TestRepository.create();
    return new VolumeLab(test, await test.host());
  }

  path(...names: readonly string[]): string {
    return join(this.folder, ...names);
  }

  /** A point of the image as a disk; it has one volume, named `disk`. */
  async protect(image: string): Promise<RecoveryPoint> {
    const disk = await openRawDisk(image);
    try {
      const result = await backup(testRun(), {
        repository: this.#repository,
        source: { kind: 'disk', path: image, disk },
        item: 'machine',
        tags: {},
      });
      const points = await this.#repository.points();
      return points.find(({ id }) => id === result.point)!;
    } finally {
      await disk.close();
    }
  }

  /** Restores all files into a new folder, or what the options say. */
  async restore(
    point: RecoveryPoint,
    options: Partial<RestoreOptions> = {},
    run = testRun(),
  ): Promise<RestoreResult> {
    return await restore(run, {
      repository: this.#repository,
      point,
      volume: 'disk',
      path: '',
      target: this.path(`target-${this.#count++}`),
      conflict: undefined,
      include: [],
      dryRun: false,
      verify: false,
      ...options,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#test[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true });
  }
}

export type Facts = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** All that is restored of a folder, by path; names of one file have the same first of its names. */
export function factsOf(folder: string, options?: Parameters<typeof describeFolder>[1]): Facts {
  const tree = Object.entries(describeFolder(folder, options)).sort(([a], [b]) => (a < b ? -1 : 1));
  const firstNames = new Map<string, string>();
  const facts = tree.map(([path, { content, hardLink, ...node }]) => {
    if (hardLink !== undefined && !firstNames.has(hardLink)) firstNames.set(hardLink, path);
    const bytes = content?.read(0, content.sizeBytes).toString('latin1');
    return [path, { ...node, bytes, firstName: hardLink && firstNames.get(hardLink) }] as const;
  });
  return Object.fromEntries(facts);
}
