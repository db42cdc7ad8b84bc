/** Gives decoders bytes that nobody wrote: only a `CofferError` may come of it, and soon. */
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CofferError, seededRandom } from '@coffer/base';
import { IntactRepository } from '../damage/intact.ts';
import { type Decoder, decodersFor, inputFor } from './decoders.ts';

/** Of the processor, since others may use it as well. */
const PROCESSOR_MS_MAX = 5000;
const MEMORY_BYTES_MAX = 256 * 1024 * 1024;

export interface FuzzResult {
  readonly inputCount: number;
  readonly failedCount: number;
  readonly findings: readonly string[];
}

/** Each round is one input for each decoder, which follows from the seed and the round alone. */
export async function fuzz(
  seed: number,
  goesOn: (round: number) => boolean,
  only?: string,
): Promise<FuzzResult> {
  const parent = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
  const intact = await IntactRepository.make(mkdtempSync(join(parent, 'coffer-fuzz-')), 1);
  const decoders = decodersFor(intact).filter(({ name }) => !only || name === only);
  const findings: string[] = [];
  let inputCount = 0;
  let failedCount = 0;
  try {
    for (let round = 0; goesOn(round) && findings.length < 20; round++) {
      for (const [index, decoder] of decoders.entries()) {
        const outcome = await tryOne(decoder, seed + round * 1000 + index);
        inputCount++;
        if (outcome === 'failed') failedCount++;
        else if (outcome !== 'decoded') {
          findings.push(`${decoder.name}, seed ${seed}, round ${round}: ${outcome}`);
        }
      }
    }
  } finally {
    await intact.close();
  }
  return { inputCount, failedCount, findings };
}

async function tryOne(decoder: Decoder, seed: number): Promise<string> {
  const input = inputFor(decoder, seededRandom(seed));
  const before = process.cpuUsage();
  const memoryBefore = process.memoryUsage().rss;
  let outcome = 'decoded';
  try {
    await decoder.decode(input);
  } catch (error) {
    outcome = 'failed';
    if (!(error instanceof CofferError)) {
      return `${error instanceof Error ? error.stack : String(error)}\n${input.toString('base64').slice(0, 2000)}`;
    }
  }
  const { user, system } = process.cpuUsage(before);
  const processorMs = (user + system) / 1000;
  if (processorMs > PROCESSOR_MS_MAX) return `it took ${Math.round(processorMs)} ms`;
  const grown = process.memoryUsage().rss - memoryBefore;
  return grown > MEMORY_BYTES_MAX ? `it took ${grown} bytes of memory` : outcome;
}
