/** Asks people for secrets, where there are people. */
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { CofferError } from '@coffer/base/errors.ts';

/** The question goes to stderr, since stdout may be a document. */
export function canAsk(): boolean {
  return process.stdin.isTTY && process.stderr.isTTY;
}

/** Reads one line that is not shown. Fails with `interrupted` or `passphrase-missing`. */
export async function askHidden(question: string): Promise<string> {
  const silence = new Writable({ write: (_chunk, _encoding, done) => done() });
  const { stdin, stderr } = process;
  const lines = createInterface({ input: stdin, output: silence, terminal: true, historySize: 0 });
  stderr.write(`${question}: `);
  try {
    return await new Promise<string>((resolve, reject) => {
      lines.once('line', resolve);
      lines.once('SIGINT', () => reject(new CofferError('interrupted')));
      lines.once('close', () => reject(new CofferError('passphrase-missing')));
    });
  } finally {
    lines.close();
    stderr.write('\n');
  }
}

/** Asks twice, since what is typed cannot be seen. */
export async function askNewSecret(question: string): Promise<string> {
  const secret = await askHidden(question);
  if (secret === (await askHidden('Once more'))) return secret;
  throw new CofferError('usage', { reason: 'the two passphrases are not the same' });
}

export interface ConfirmOptions {
  readonly yes?: boolean;
}

/** Asks before something is done that people may regret. Fails with `confirmation-needed`. */
export async function confirm({ yes }: ConfirmOptions, question: string): Promise<void> {
  if (yes) return;
  if (!canAsk()) throw new CofferError('confirmation-needed', { question });
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await new Promise<string>((resolve, reject) => {
      lines.once('SIGINT', () => reject(new CofferError('interrupted')));
      lines.once('close', () => resolve(''));
      lines.question(`${question} [y/N] `, resolve);
    });
    if (!/^y(es)?$/i.test(answer.trim())) throw new CofferError('interrupted');
  } finally {
    lines.close();
  }
}
