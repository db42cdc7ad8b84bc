/**
 * The libvirt driver of QEMU inside of `virsh`, with all its state in a folder: the judge of what we
 * write, without a daemon. Fails where virsh (libvirt-clients) or the driver (libvirt-daemon) is
 * missing.
 */
import { execFile } from 'node:child_process';
import { chown, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

const SETTINGS = [
  'stdio_handler = "file"',
  'security_driver = "none"',
  'cgroup_controllers = [ ]',
  'namespaces = [ ]',
];

/** As root, libvirt wants a user for QEMU that only its system daemon brings along. */
const NOBODY = 65_534;
const IS_ROOT = process.getuid?.() === 0;
const AS_NOBODY = ['--reuid', `${NOBODY}`, '--regid', `${NOBODY}`, '--clear-groups'];

async function giveAway(...paths: string[]): Promise<void> {
  if (!IS_ROOT) return;
  for (const path of paths) await chown(path, NOBODY, NOBODY);
}

export interface EmbeddedLibvirt {
  /** For files that commands name. */
  readonly folder: string;
  /** Runs the commands one after the other in one virsh. Rejects when one of them fails. */
  readonly virsh: (...commands: string[]) => Promise<string>;
  /** Writes a file and returns its path. */
  readonly write: (name: string, text: string) => Promise<string>;
  readonly close: () => Promise<void>;
}

export async function embeddedLibvirt(): Promise<EmbeddedLibvirt> {
  // Short, since the paths of sockets are.
  const folder = await mkdtemp(join(tmpdir(), 'lv-'));
  await mkdir(join(folder, 'root/etc'), { recursive: true });
  await writeFile(join(folder, 'root/etc/qemu.conf'), SETTINGS.join('\n'));
  await giveAway(folder, join(folder, 'root'), join(folder, 'root/etc'));
  const uri = `qemu:///embed?root=${folder}/root`;
  return {
    folder,
    async virsh(...commands) {
      const virsh = ['virsh', '-q', '-c', uri, commands.join('; ')];
      const [program, ...args] = IS_ROOT ? ['setpriv', ...AS_NOBODY, ...virsh] : virsh;
      const env = { ...process.env, HOME: folder, XDG_RUNTIME_DIR: folder };
      const { stdout, stderr } = await run(program!, args, { timeout: 1_800_000, env });
      const failure = /^error: .*/m.exec(stderr)?.[0];
      if (failure !== undefined) throw new Error(stderr);
      return stdout;
    },
    async write(name, text) {
      const path = join(folder, name);
      await writeFile(path, text);
      await giveAway(path);
      return path;
    },
    close: async () => await rm(folder, { recursive: true, force: true }),
  };
}

/** Makes an image with the tool of QEMU. */
export async function makeImage(path: string, format: string, size: string): Promise<void> {
  await run('qemu-img', ['create', '-q', '-f', format, path, size]);
  await giveAway(path);
}
