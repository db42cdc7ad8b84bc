/** What a run tells, shown on a terminal: what it is busy with, how far it is, how fast, how long. */
import type { RunContext, RunEvent } from '@coffer/base';
import { commandRun } from './compose.ts';
import { formatBytes, formatDuration } from './output.ts';
import { describePhase } from './phases.ts';
import type { GlobalOptions } from './settings.ts';

const REFRESH_MS = 200;

/** Runs the task with a bar on the terminal, where there is one. */
export async function withBar<T>(
  options: GlobalOptions,
  task: (run: RunContext) => Promise<T>,
): Promise<T> {
  if (options.quiet || !process.stderr.isTTY) return await task(commandRun);
  const { default: cliProgress } = await import('cli-progress');
  const bar = new cliProgress.SingleBar(
    {
      stream: process.stderr,
      format: '{title} {bar} {summary}',
      barsize: 24,
      hideCursor: true,
      clearOnComplete: true,
      stopOnComplete: false,
    },
    cliProgress.Presets.shades_classic,
  );
  const state = new BarState(commandRun.clock.now());
  bar.start(1, 0, state.shown(commandRun.clock.now()));
  const timer = setInterval(() => {
    bar.update(state.fraction, state.shown(commandRun.clock.now()));
  }, REFRESH_MS);
  const tell = (event: RunEvent): void => {
    state.take(event, commandRun.clock.now());
    commandRun.tell(event);
  };
  try {
    return await task({ ...commandRun, tell });
  } finally {
    clearInterval(timer);
    bar.stop();
  }
}

/** The phase that a run is in, and how far it is in it. */
export class BarState {
  #title = 'opening the repository';
  #startedAt: number;
  #total = { bytes: 0, items: 0 };
  #done = { bytes: 0, items: 0 };
  #findings = 0;

  constructor(now: number) {
    this.#startedAt = now;
  }

  take(event: RunEvent, now: number): void {
    switch (event.kind) {
      case 'phase':
        this.#title = describePhase(event.phase, event.subject);
        this.#startedAt = now;
        this.#total = { bytes: 0, items: 0 };
        this.#done = { bytes: 0, items: 0 };
        return;
      case 'total':
        this.#total.bytes += event.bytes;
        this.#total.items += event.items;
        return;
      case 'done':
        this.#done.bytes += event.bytes;
        this.#done.items += event.items;
        return;
      case 'finding':
        this.#findings++;
        return;
      case 'milestone':
        return;
    }
  }

  /** From 0 to 1; 0 as long as nobody knows. */
  get fraction(): number {
    const [done, total] =
      this.#total.bytes > 0
        ? [this.#done.bytes, this.#total.bytes]
        : [this.#done.items, this.#total.items];
    return total <= 0 ? 0 : Math.min(1, done / total);
  }

  shown(now: number): { readonly title: string; readonly summary: string } {
    const found = this.#findings > 0 ? `, ${this.#findings} findings` : '';
    return { title: this.#title, summary: `${this.#amount(now - this.#startedAt)}${found}` };
  }

  #amount(elapsedMs: number): string {
    const { bytes, items } = this.#done;
    const total = this.#total;
    const left = this.#left(elapsedMs);
    if (bytes === 0 && total.bytes === 0) {
      if (items === 0 && total.items === 0) return formatDuration(elapsedMs);
      return `${items}${total.items > 0 ? ` of ${total.items}` : ''}${left}`;
    }
    const of = total.bytes > 0 ? ` of ${formatBytes(total.bytes)}` : '';
    const rate = (bytes / Math.max(1, elapsedMs)) * 1000;
    return `${formatBytes(bytes)}${of}, ${formatBytes(rate)}/s${left}`;
  }

  #left(elapsedMs: number): string {
    const { fraction } = this;
    if (fraction <= 0 || fraction >= 1) return '';
    return `, ${formatDuration((elapsedMs * (1 - fraction)) / fraction)} left`;
  }
}
