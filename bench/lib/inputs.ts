// The inputs of the benchmarks, built once from this machine's own files and kept in the cache
// folder. An input is complete only when its mark (`<name>.json`) exists, so that an interrupted
// build is done again.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { benchFolder, sourceFolders, walk } from './folders.ts';
import { logNormal, seededRandom, shuffle } from './random.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

const DISK_SIZE = 10 * GiB;
const DISK_DATA_MIN = 4 * GiB;
const DISK_DATA_MAX = 5.5 * GiB;

const SMALL_FILE_COUNT = 200_000;
const SMALL_FOLDER_COUNT = 2_000;
const SMALL_SIZE_MEDIAN = 2.5 * KiB;
const SMALL_SIZE_MEAN = 8 * KiB;
const SMALL_SIZE_MAX = 2 * MiB;

/** So that a few large files do not make up the whole. */
const COPIED_SIZE_MAX = 32 * MiB;

export interface Input {
  path: string;
  fileCount: number;
  /** Bytes of file content in it. */
  size: number;
}

/** An ext4 image, 10 GiB virtual and sparse, that holds 4 to 5.5 GiB of this machine's files. */
export function diskImage(): Input {
  return built('disk', (path) => {
    const staging = `${path}.staging`;
    const content = stageFiles(staging);
    if (content.size < DISK_DATA_MIN) {
      throw new Error(
        `only ${content.size} bytes of files found: name more in COFFER_BENCH_SOURCES`,
      );
    }
    fs.closeSync(fs.openSync(path, 'w'));
    fs.truncateSync(path, DISK_SIZE);
    execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', '-d', staging, path], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    fs.rmSync(staging, { recursive: true });
    return content;
  });
}

/** A tree of 200,000 small files in 2,000 folders, cut from this machine's files. */
export function smallFiles(): Input {
  return built('small-files', (path) => {
    const random = seededRandom(2);
    const content = cutter(random);
    const folders = Array.from({ length: SMALL_FOLDER_COUNT }, (_, index) =>
      join(path, `part-${index % 40}`, `module-${index}`),
    );
    for (const folder of folders) fs.mkdirSync(folder, { recursive: true });
    let size = 0;
    for (let index = 0; index < SMALL_FILE_COUNT; index++) {
      // Squared: some folders hold many files and most hold few, as in real trees.
      const folder = folders[Math.floor(random() ** 2 * folders.length)]!;
      const sampled = logNormal(random, SMALL_SIZE_MEDIAN, SMALL_SIZE_MEAN);
      const bytes = content(Math.min(SMALL_SIZE_MAX, Math.ceil(sampled)));
      fs.writeFileSync(join(folder, `file-${index}`), bytes);
      size += bytes.length;
    }
    return { fileCount: SMALL_FILE_COUNT, size };
  });
}

function built(name: string, build: (path: string) => Omit<Input, 'path'>): Input {
  const path = join(benchFolder(), name);
  const mark = `${path}.json`;
  if (fs.existsSync(mark))
    return { path, ...(JSON.parse(fs.readFileSync(mark, 'utf8')) as Omit<Input, 'path'>) };
  console.error(`building ${path}`);
  for (const rest of [path, `${path}.staging`]) fs.rmSync(rest, { recursive: true, force: true });
  const content = build(path);
  execFileSync('sync');
  fs.writeFileSync(mark, JSON.stringify(content));
  return { path, ...content };
}

/** Hard links (copies, where links are refused) to files until the disk is full enough. */
function stageFiles(staging: string): Omit<Input, 'path'> {
  let size = 0;
  let fileCount = 0;
  for (const source of sourceFolders()) {
    fs.mkdirSync(join(staging, source), { recursive: true });
    for (const { path, entry } of walk(source, benchFolder())) {
      const target = join(staging, path);
      if (entry.isDirectory()) fs.mkdirSync(target);
      else if (entry.isSymbolicLink()) fs.symlinkSync(fs.readlinkSync(path), target);
      else if (entry.isFile()) {
        const fileSize = fs.statSync(path).size;
        if (size + fileSize > DISK_DATA_MAX || !linkOrCopy(path, target)) continue;
        size += fileSize;
        fileCount += 1;
      }
    }
  }
  return { size, fileCount };
}

function linkOrCopy(source: string, target: string): boolean {
  try {
    fs.linkSync(source, target);
    return true;
  } catch {
    // Another file system, or a file that this user may not link to.
  }
  return isCopied(source, target);
}

function isCopied(source: string, target: string): boolean {
  try {
    fs.copyFileSync(source, target);
    return true;
  } catch {
    return false; // Gone, or unreadable for this user.
  }
}

/**
 * Gives the next bytes of this machine's files in a shuffled order. At most 1 MiB of a file is
 * used in one round, so that large programs do not crowd out text and sources.
 */
function cutter(random: () => number): (size: number) => Buffer {
  const sliceSize = MiB;
  const files = shuffle(
    sourceFolders()
      .flatMap((folder) => [...walk(folder, benchFolder())])
      .filter(({ entry }) => entry.isFile())
      .map(({ path }) => path),
    random,
  );
  let next = 0;
  let held = Buffer.alloc(0);
  return (size) => {
    while (held.length < size) {
      if (next === files.length * 64)
        throw new Error('too few files: name more in COFFER_BENCH_SOURCES');
      const offset = Math.floor(next / files.length) * sliceSize;
      held = Buffer.concat([held, readSlice(files[next++ % files.length]!, offset, sliceSize)]);
    }
    const bytes = held.subarray(0, size);
    held = held.subarray(size);
    return bytes;
  };
}

function readSlice(path: string, offset: number, size: number): Buffer {
  try {
    const file = fs.openSync(path, 'r');
    const bytes = Buffer.allocUnsafe(size);
    const count = fs.readSync(file, bytes, 0, size, offset);
    fs.closeSync(file);
    return bytes.subarray(0, count);
  } catch {
    return Buffer.alloc(0); // Unreadable for this user.
  }
}

/**
 * Copies files of the system, chosen by a seed, into a folder until they hold so many bytes. Copies,
 * not links: who owns the folder may be given what is in it. Only the first of the source folders is
 * looked at: in the others may be archives, more than a machine usually holds, and compressed already.
 */
export function copyFiles(target: string, bytesMax: number, seed: number): void {
  const files = sourceFolders()
    .slice(0, 1)
    .flatMap((folder) => [...walk(folder, benchFolder())])
    .filter(({ entry }) => entry.isFile());
  let left = bytesMax;
  for (const { path } of shuffle(files, seededRandom(seed))) {
    const size = fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    if (size > Math.min(left, COPIED_SIZE_MAX)) continue;
    const copy = join(target, path);
    fs.mkdirSync(dirname(copy), { recursive: true });
    if (isCopied(path, copy)) left -= size;
    if (left < MiB) return;
  }
  throw new Error('too few files: name more in COFFER_BENCH_SOURCES');
}

/** The folder of one benchmark's repositories and restored copies, emptied first. */
export function freshScratch(name: string): string {
  const path = join(benchFolder(), 'scratch', name);
  fs.rmSync(path, { recursive: true, force: true });
  fs.mkdirSync(dirname(path), { recursive: true });
  fs.mkdirSync(path);
  return path;
}
