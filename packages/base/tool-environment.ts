/** What programs of others, some of which read hostile input, get to know of our environment. */

/** Our own settings and the credentials of stores; a program that needs them is one of ours. */
const OURS = /^(?:COFFER|AWS|AZURE)_/;

/** The environment for a program that is started to help, with what it needs besides. */
export function toolEnvironment(
  additions: Readonly<Record<string, string>> = {},
  own: NodeJS.ProcessEnv = process.env,
): NodeJS.ProcessEnv {
  const passedOn = Object.entries(own).filter(([name]) => !OURS.test(name));
  return { ...Object.fromEntries(passedOn), ...additions };
}
