/** Progress on stderr, on a terminal only. */
import type { Progress } from '@coffer/flows/progress.ts';
import { clock } from './compose.ts';
import { formatBytes, formatDuration } from './output.ts';
import type { GlobalOptions } from './settings.ts';

const REFRESH_MS = 200;

/** Shows the progress while the task runs. */
export async function showProgress<T>(
  options: GlobalOptions,
  title: string,
  progress: Progress,
  task: () => Promise<T>,
): Promise<T> {
  if (options.quiet || !process.stderr.isTTY) return await task();
  const { default: cliProgress } = await import('cli-progress');
  const bar = new cliProgress.SingleBar(
    {
      stream: process.stderr,
      format: `${title} {bar} {summary}`,
      barsize: 24,
      hideCursor: true,
      clearOnComplete: true,
      stopOnComplete: false,
    },
    cliProgress.Presets.shades_classic,
  );
  const startedAt = clock.now();
  bar.start(1, 0, { summary: '' });
  const timer = setInterval(() => {
    bar.update(fractionOf(progress), { summary: summaryOf(progress, clock.now() - startedAt) });
  }, REFRESH_MS);
  try {
    return await task();
  } finally {
    clearInterval(timer);
    bar.stop();
  }
}

function fractionOf({ bytesDone, bytesTotal }: Progress): number {
  return bytesTotal === 0 ? 0 : Math.min(1, bytesDone / bytesTotal);
}

function summaryOf(progress: Progress, elapsedMs: number): string {
  const { bytesDone, bytesTotal } = progress;
  const rate = bytesDone / Math.max(1, elapsedMs);
  const amount = bytesTotal > 0 ? ` of ${formatBytes(bytesTotal)}` : '';
  const leftMs = rate > 0 && bytesTotal > bytesDone ? (bytesTotal - bytesDone) / rate : 0;
  const left = leftMs > 0 ? `, ${formatDuration(leftMs)} left` : '';
  return `${formatBytes(bytesDone)}${amount}, ${formatBytes(rate * 1000)}/s${left}`;
}
