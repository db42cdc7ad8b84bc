/** A folder of its own for one test, in which the real `./coffer` runs with settings of its own. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

const COFFER = resolve(import.meta.dirname, '../../../coffer');
export const PASSPHRASE = 'correct horse battery staple';

export interface Outcome {
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface RunOptions {
  /** Undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly input?: string;
}

export class Sandbox {
  readonly folder: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #running = new Set<ChildProcess>();

  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), 'coffer-e2e-'));
    const { PATH, NODE_COMPILE_CACHE } = process.env;
    this.#env = {
      PATH,
      HOME: this.path('home'),
      XDG_CACHE_HOME: this.path('cache'),
      XDG_CONFIG_HOME: this.path('config'),
      XDG_DATA_HOME: this.path('data'),
      // One for all tests: compiling is not what they test.
      NODE_COMPILE_CACHE: NODE_COMPILE_CACHE ?? join(tmpdir(), 'coffer-e2e-compiled'),
      COFFER_REPO: this.path('repo'),
      COFFER_PASSPHRASE: PASSPHRASE,
      TZ: 'UTC',
    };
    mkdirSync(this.path('home'));
  }

  /** One with a repository. */
  static async withRepository(): Promise<Sandbox> {
    const sandbox = new Sandbox();
    await sandbox.done('init', '--quiet');
    return sandbox;
  }

  /** The same, opened by the recovery key: that takes no time, a passphrase takes 0.3 s of a core. */
  static async withRecoveryKey(): Promise<Sandbox> {
    const sandbox = new Sandbox();
    const { recoveryKey } = await sandbox.json<{ recoveryKey: string }>(['init']);
    sandbox.#env['COFFER_PASSPHRASE'] = recoveryKey;
    return sandbox;
  }

  path(...words: readonly string[]): string {
    return join(this.folder, ...words);
  }

  /** A folder, made with the files that are given. */
  source(files: Readonly<Record<string, string | Buffer>> = {}): string {
    const folder = this.path('source');
    mkdirSync(folder, { recursive: true });
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(join(folder, name, '..'), { recursive: true });
      writeFileSync(join(folder, name), content);
    }
    return folder;
  }

  start(words: readonly string[], { env = {}, input }: RunOptions = {}): ChildProcess {
    const child = spawn(COFFER, words, { env: { ...this.#env, ...env }, cwd: this.folder });
    this.#running.add(child);
    child.once('exit', () => this.#running.delete(child));
    child.stdin.on('error', () => {});
    child.stdin.end(input ?? '');
    return child;
  }

  async run(words: readonly string[], options?: RunOptions): Promise<Outcome> {
    const outcome = await outcomeOf(this.start(words, options));
    assert.doesNotMatch(outcome.stderr, /^\s+at .*:\d+:\d+\)?$/m, 'never a stack trace');
    assert.doesNotMatch(outcome.stderr, /^\(node:\d+\)/m, 'never a warning of the runtime');
    return outcome;
  }

  /** Runs a command that has to end well; returns what it printed. */
  async done(...words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(words);
    assert.equal(code, 0, `coffer ${words.join(' ')} ended with ${code}: ${stderr}`);
    return stdout.toString();
  }

  /** The one JSON document of a command that has to end with `code`. */
  async json<T>(words: readonly string[], code = 0, options?: RunOptions): Promise<T> {
    const outcome = await this.run([...words, '--json'], options);
    assert.equal(outcome.code, code, `coffer ${words.join(' ')}: ${outcome.stderr}`);
    return JSON.parse(outcome.stdout.toString()) as T;
  }

  /** Runs a command that has to fail with this error, and says so in JSON as well. */
  async fails(words: readonly string[], error: string, code: number, options?: RunOptions) {
    const document = await this.json<{ error: { code: string; message: string; help: string } }>(
      words,
      code,
      options,
    );
    assert.equal(document.error.code, error, document.error.message);
    return document.error;
  }

  /** Runs a script of the shell, in which `coffer` is a word: it can give bytes that Node cannot. */
  async shell(script: string): Promise<Outcome> {
    const PATH = `${dirname(COFFER)}:${this.#env['PATH']}`;
    const env = { ...this.#env, PATH };
    return await outcomeOf(spawn('sh', ['-c', script], { env, cwd: this.folder }));
  }

  remove(): void {
    // What a test that failed did not end.
    for (const child of this.#running) child.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }

  [Symbol.dispose](): void {
    this.remove();
  }
}

export async function outcomeOf(child: ChildProcess): Promise<Outcome> {
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout?.on('data', (bytes: Buffer) => stdout.push(bytes));
  child.stderr?.on('data', (bytes: Buffer) => stderr.push(bytes));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() };
}

/** A finding as `--json` shows it. */
export interface FoundDocument {
  readonly code: string;
  readonly subject: { readonly name: string };
  readonly message: string;
}

export interface Backup {
  readonly point: string;
  readonly item: string;
  readonly kind: string;
  readonly takenAt: string;
  readonly bytesSource: number;
  readonly bytesRead: number;
  readonly bytesStored: number;
  readonly chunksNew: number;
  readonly chunksReused: number;
  readonly durationMs: number;
  readonly findings: readonly FoundDocument[];
}

export interface Restore {
  readonly point: string;
  readonly target: string;
  readonly bytesWritten: number;
  readonly bytesKept: number;
  readonly durationMs: number;
  readonly verified: boolean;
  readonly findings: readonly FoundDocument[];
}
