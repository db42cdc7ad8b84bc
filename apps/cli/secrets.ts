/**
 * Secrets of the environment. They are taken out of it once, before anything is started, so that no
 * process of ours hands them on without meaning to.
 */
const NAMES = ['COFFER_PASSPHRASE', 'COFFER_NEW_PASSPHRASE', 'COFFER_TO_PASSPHRASE'] as const;
export type SecretName = (typeof NAMES)[number];

const taken = new Map<SecretName, string>();
let kept: string | undefined;

/** Called once, at the start. */
export function takeSecrets(environment: NodeJS.ProcessEnv): void {
  for (const name of NAMES) {
    const value = environment[name];
    delete environment[name];
    if (value !== undefined && value !== '') taken.set(name, value);
  }
}

/** What the environment held at the start. */
export function secretOf(name: SecretName): string | undefined {
  return taken.get(name);
}

/** Of the repository: it was asked for, or handed over by the process that has started this one. */
export function keepPassphrase(passphrase: string): void {
  kept = passphrase;
}

export function keptPassphrase(): string | undefined {
  return kept;
}
