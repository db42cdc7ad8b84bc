/** `vms`, `check`: what is about virtual machines alone. */
import type { Command } from 'commander';
import type { VmBackupCommandOptions } from '../commands/backup-vm.ts';
import type { VmsCommandOptions } from '../commands/vms.ts';
import { addCaptureOptions, command, DEFAULT_LIBVIRT, repeatable } from './command.ts';

export function addMachines(program: Command): void {
  addVms(program);
  addCheck(program);
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
    .action(async (names: string[], _options, self: Command) => {
      const { runCheck } = await import('../commands/backup-vm.ts');
      await runCheck(names, self.optsWithGlobals<VmBackupCommandOptions>());
    });
  addCaptureOptions(check);
}
