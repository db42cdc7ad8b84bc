// Claim: over a link of 100 ms round trip and 500 Mbit/s, backup and restore reach 80 % of the
// link's bandwidth.
//
// The link is simulated in user space (lib/link.ts) before an S3 server on this machine, which
// holds its objects in memory; so it needs no privileges. What is counted are the bytes that
// crossed the link, in the direction that the step is about.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { startS3Server } from '@coffer/storage/testing/s3-server.ts';
import type { S3Server } from '@coffer/storage/testing/s3-server.ts';
import { coffer } from './lib/coffer.ts';
import { filesEqual } from './lib/equal.ts';
import { diskImage, freshScratch } from './lib/inputs.ts';
import { openLink } from './lib/link.ts';
import type { Link } from './lib/link.ts';
import { measure, prepareCache } from './lib/measure.ts';
import type { Command } from './lib/measure.ts';
import type { Options, ToolName } from './lib/options.ts';
import { putRate } from './lib/put-rate.ts';
import { addRow } from './lib/report.ts';
import type { Report } from './lib/report.ts';
import { restic } from './lib/restic.ts';
import type { Tool } from './lib/tool.ts';

const MiB = 2 ** 20;
const BITS_PER_SECOND = 500e6;
const ROUND_TRIP_MS = 100;
/** Linux lets a connection have about this many bytes under way (net.ipv4.tcp_wmem). */
const WINDOW_SIZE = 4 * MiB;
/** A part of the disk: it outweighs the start, and fits into the memory of the server. */
const IMAGE_SIZE = 4 * 2 ** 30;

export async function link(options: Options, report: Report): Promise<void> {
  const server = await startS3Server();
  const scratch = freshScratch('link');
  try {
    for (const name of options.tools) {
      const open = OVER_S3[name];
      if (open === undefined) report.notes.push(`link: ${name} has no S3 backend`);
      else await overLink(server, scratch, open, report);
    }
    await server.createBucket('rate');
    const serverRate = await putRate(server.client, 'rate');
    report.notes.push(`link: the server alone takes ${(serverRate / 1e6).toFixed(0)} Mbit/s`);
  } finally {
    await server.stop();
    rmSync(scratch, { recursive: true, force: true });
  }
}

type OpenTool = (scratch: string, url: string, env: Record<string, string>) => Tool;

const OVER_S3: Partial<Record<ToolName, OpenTool>> = {
  coffer: (scratch, _url, env) => coffer(scratch, { repository: 's3://coffer/repository', env }),
  restic: (scratch, url, env) =>
    restic(scratch, { repository: `s3:${url}/restic/repository`, env }),
};

/** Measures one tool over a link of its own. */
async function overLink(
  server: S3Server,
  scratch: string,
  open: OpenTool,
  report: Report,
): Promise<void> {
  const { hostname, port } = new URL(server.endpoint);
  const path = await openLink({
    host: hostname,
    port: Number(port),
    bitsPerSecond: BITS_PER_SECOND,
    roundTripMs: ROUND_TRIP_MS,
    windowSize: WINDOW_SIZE,
  });
  try {
    const url = `http://127.0.0.1:${path.port}`;
    const tool = open(scratch, url, { ...server.environment, AWS_ENDPOINT_URL: url });
    await server.createBucket(tool.name);
    await backUpAndRestore(tool, { image: partOfDisk(scratch), scratch, path, report });
  } finally {
    path.close();
  }
}

interface Context {
  image: string;
  scratch: string;
  path: Link;
  report: Report;
}

async function backUpAndRestore(
  tool: Tool,
  { image, scratch, path, report }: Context,
): Promise<void> {
  const run = async (
    step: string,
    command: Command,
    direction: 'up' | 'down',
    after: () => object,
  ) => {
    const before = path.bytes[direction];
    const taken = await measure(command);
    const crossed = path.bytes[direction] - before;
    const figures = {
      crossedMiB: crossed / MiB,
      linkPercent: (crossed * 8 * 100) / taken.wallSeconds / BITS_PER_SECOND,
      ...after(),
    };
    addRow(report, {
      bench: 'link',
      step,
      tool: tool.name,
      cache: 'warm',
      measure: taken,
      figures,
    });
  };
  await measure(tool.init());
  prepareCache('warm', image);
  await run('backup', tool.backupDisk(image), 'up', () => ({}));
  const target = join(scratch, 'restored');
  mkdirSync(target);
  const { command, path: restored } = tool.restore(target);
  await run('restore', command, 'down', () => ({
    equal: filesEqual(image, restored) ? 'yes' : 'NO',
  }));
  rmSync(target, { recursive: true });
}

function partOfDisk(scratch: string): string {
  const image = join(scratch, 'image');
  const count = String(IMAGE_SIZE / MiB);
  const argv = [`if=${diskImage().path}`, `of=${image}`, 'bs=1M', `count=${count}`, 'conv=sparse'];
  execFileSync('dd', argv, { stdio: 'ignore' });
  execFileSync('truncate', ['-s', String(IMAGE_SIZE), image]);
  return image;
}
