/** `vms`, `check`, `test`, `instant`, `undo`, `accept`: what is about virtual machines alone. */
import type { Command } from 'commander';
import type { VmBackupCommandOptions } from '../commands/backup-machines.ts';
import type { TestCommandOptions } from '../commands/test.ts';
import type { UndoCommandOptions } from '../commands/undo.ts';
import type { VmsCommandOptions } from '../commands/vms.ts';
import type { ConfirmOptions } from '../prompt.ts';
import type { GlobalOptions } from '../settings.ts';
import { addCaptureOptions, command, DEFAULT_LIBVIRT, repeatable } from './command.ts';

export function addMachines(program: Command): void {
  addVms(program);
  addCheck(program);
  addTest(program);
  addInstant(program);
  addUndo(program);
}

function addVms(program: Command): void {
  command(program, 'vms', 'list virtual machines, and how each can be protected', [
    'coffer vms',
    'coffer vms --connect qemu+ssh://root@host2/system --json',
  ])
    .option('--connect <uri>', 'libvirt of the machines', DEFAULT_LIBVIRT)
    .action(async (_options, self: Command) => {
      const { runVms } = await import('../commands/vms.ts');
      await runVms(self.optsWithGlobals<VmsCommandOptions>());
    });
}

function addCheck(program: Command): void {
  const check = command(
    program,
    'check',
    'make a point of a machine by reading all, and compare with what was tracked',
    ['coffer check vm:web01', 'coffer check vm:web01 vm:db01 --json'],
  )
    .argument('<vm...>', 'vm:NAME or vm:UUID')
    .option('--item <name>', 'name of what is protected (default: vm:NAME)')
    .addOption(repeatable('--tag <key=value>', 'a tag of the point'))
    .option('--verify', 'read back what is stored, before the point is made')
    .action(async (names: string[], _options, self: Command) => {
      const { runCheck } = await import('../commands/backup-machines.ts');
      await runCheck(names, self.optsWithGlobals<VmBackupCommandOptions>());
    });
  addCaptureOptions(check);
}

function addUndo(program: Command): void {
  command(program, 'undo', 'bring back what `restore --original` has replaced', [
    'coffer undo vm:web01',
    'coffer undo --list',
  ])
    .argument('[vm]', 'vm:NAME or vm:UUID')
    .option('--list', 'list what can be undone')
    .option('--yes', 'do not ask before the machine is stopped')
    .action(async (name: string | undefined, _options, self: Command) => {
      const { runUndo } = await import('../commands/undo.ts');
      await runUndo(name, self.optsWithGlobals<UndoCommandOptions>());
    });
  command(program, 'accept', 'remove what `restore --original` has kept of the old state', [
    'coffer accept vm:web01',
  ])
    .argument('<vm>', 'vm:NAME or vm:UUID')
    .action(async (name: string, _options, self: Command) => {
      const { runAccept } = await import('../commands/undo.ts');
      await runAccept(name, self.optsWithGlobals<GlobalOptions>());
    });
}

function addTest(program: Command): void {
  command(program, 'test', 'boot a machine of a point, reaching nothing, to see that it does', [
    'coffer test vm:web01@latest',
    'coffer test vm:db01@latest --run "pg_isready -q" --timeout 600',
  ])
    .argument('<point>', 'point of a machine')
    .option('--run <command>', 'that has to end well in the guest')
    .option('--timeout <seconds>', 'for the guest to answer', '300')
    .option('--still <seconds>', 'how long a screen has to be the same, without an agent', '20')
    .option('--screenshot <file>', 'where the picture of the screen goes')
    .option('--connect <uri>', 'libvirt that boots it', DEFAULT_LIBVIRT)
    .action(async (point: string, _options, self: Command) => {
      const { runTest } = await import('../commands/test.ts');
      await runTest(point, self.optsWithGlobals<TestCommandOptions>());
    });
}

function addInstant(program: Command): void {
  const instant = command(program, 'instant', 'machines that run on points', [
    'coffer instant list',
    'coffer instant migrate web01-now',
    'coffer instant discard web01-now',
  ]);
  const globals = (self: Command): GlobalOptions & ConfirmOptions => self.optsWithGlobals();
  instant
    .command('list')
    .description('list them')
    .action(async (_options, self: Command) => {
      const { runInstantList } = await import('../commands/instant.ts');
      await runInstantList(globals(self));
    });
  instant
    .command('migrate')
    .description('move the disks of one to images of its own, while it runs')
    .argument('<vm>', 'name or UUID')
    .action(async (name: string, _options, self: Command) => {
      const { runInstantMigrate } = await import('../commands/instant.ts');
      await runInstantMigrate(name, globals(self));
    });
  instant
    .command('discard')
    .description('end one and remove all of it')
    .argument('<vm>', 'name or UUID')
    .option('--yes', 'do not ask')
    .action(async (name: string, _options, self: Command) => {
      const { runInstantDiscard } = await import('../commands/instant.ts');
      await runInstantDiscard(name, globals(self));
    });
  instant
    .command('resume')
    .description('serve and start one again, for example after a restart of the host')
    .argument('<vm>', 'name or UUID')
    .action(async (name: string, _options, self: Command) => {
      const { runInstantResume } = await import('../commands/instant.ts');
      await runInstantResume(name, globals(self));
    });
  addInstantProcesses(instant);
}

/** What `restore --instant` leaves running; nobody types them. */
function addInstantProcesses(instant: Command): void {
  instant
    .command('keep', { hidden: true })
    .argument('<uuid>')
    .argument('<started by>')
    .action(async (uuid: string, startedBy: string, _options, self: Command) => {
      const { runInstantKeep } = await import('../commands/instant-keep.ts');
      await runInstantKeep(uuid, Number(startedBy), self.optsWithGlobals<GlobalOptions>());
    });
  instant
    .command('serve', { hidden: true })
    .argument('<uuid>')
    .action(async (uuid: string, _options, self: Command) => {
      const { runInstantServe } = await import('../commands/instant-serve.ts');
      await runInstantServe(uuid, self.optsWithGlobals<GlobalOptions>());
    });
}
